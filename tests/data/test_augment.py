import pytest
import torch
from later import Later

from gantrain.data import Batch, Batches, Color, Crop, Cutout, DiffAugment, Flip
from gantrain.errors import UserError

functional = Later("torchvision.transforms.functional")


def make_batch(n=64, shape=(3, 10, 8), index=0, rank=0, world=1, seed=7):
    """This process' share of ``n`` random images, as a batch."""
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(index)) * 2 - 1
    share = n // world
    return Batch(images[rank * share : (rank + 1) * share], None, index, 0, seed, rank, world)


def cropped(image, batch, i, padding, fill):
    """By torchvision, for one sample."""
    top, left = (int(batch.integers(f"crop/{side}", 2 * padding + 1)[i]) for side in ("top", "left"))
    padded = functional.pad(image, [padding] * 4, fill=fill)
    return functional.crop(padded, top, left, *image.shape[1:])


def cut(image, batch, i, size, probability, fill):
    """Pixel by pixel, as DeVries and Taylor's mask is made: a square around a centre, clipped to the image."""
    if batch.uniform("cutout")[i] >= probability:
        return image
    height, width = image.shape[1:]
    y, x = int(batch.integers("cutout/row", height)[i]), int(batch.integers("cutout/column", width)[i])
    image = image.clone()
    for row in range(max(0, y - size // 2), min(height, y - size // 2 + size)):
        for column in range(max(0, x - size // 2), min(width, x - size // 2 + size)):
            image[:, row, column] = fill
    return image


@pytest.mark.parametrize(("padding", "fill"), [(4, -1.0), (1, 0.5), (9, 0.0)])
def test_crop_is_torchvisions_pad_and_crop_of_each_sample(padding, fill):
    batch = make_batch()
    expected = torch.stack([cropped(image, batch, i, padding, fill) for i, image in enumerate(batch.real)])
    assert torch.equal(Crop(padding, fill)(batch.real, batch), expected)


def test_crop_reaches_all_positions_by_itself_for_each_sample():
    batch = make_batch(n=2000, shape=(1, 3, 3))
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    marks = (1 + rows * 3 + columns).expand(2000, 1, 3, 3)
    seen = {tuple(image.flatten().tolist()) for image in Crop(1, fill=0.0)(marks, batch)}
    assert len(seen) == 9, "three places in each direction"


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_mirrors_some_samples_left_to_right(probability):
    batch = make_batch(n=1000, shape=(2, 4, 4))
    out = Flip(probability)(batch.real, batch)
    mirrored = torch.stack([functional.hflip(image) for image in batch.real])
    changed = (out != batch.real).flatten(1).any(1)
    assert torch.equal(out[changed], mirrored[changed])
    assert changed.float().mean().item() == pytest.approx(probability, abs=0.05)


@pytest.mark.parametrize(
    ("size", "probability", "fill"), [(4, 1.0, 0.0), (5, 0.5, -1.0), (16, 0.7, 0.25), (1, 1.0, 9.0)]
)
def test_cutout_blanks_the_square_of_each_sample(size, probability, fill):
    batch = make_batch()
    expected = torch.stack([cut(image, batch, i, size, probability, fill) for i, image in enumerate(batch.real)])
    out = Cutout(size, probability, fill)(batch.real, batch)
    assert torch.equal(out, expected)
    assert not torch.equal(out, batch.real)


def test_cutout_is_centred_on_every_pixel_alike():
    batch = make_batch(n=6400, shape=(1, 8, 8))
    holes = Cutout(1, fill=9.0)(batch.real, batch) == 9
    assert holes.flatten(1).sum(1).eq(1).all()
    assert (holes.sum(0) - 100).abs().max() < 50, "5 standard deviations of a hundred"


def test_a_symmetric_cutout_blanks_both_sides_alike():
    """Each corner of a pixel is the centre as often: on a side of 5, a square of 4 has 6 places, as in DiffAugment."""
    batch = make_batch(n=3600, shape=(1, 5, 5))
    holes = (Cutout(4, fill=9.0, symmetric=True)(batch.real, batch) == 9)[:, 0]
    rows, columns = holes.any(2).unique(dim=0), holes.any(1).unique(dim=0)
    places = {(1, 1, 0, 0, 0), (1, 1, 1, 0, 0), (1, 1, 1, 1, 0), (0, 1, 1, 1, 1), (0, 0, 1, 1, 1), (0, 0, 0, 1, 1)}
    assert {tuple(map(int, line)) for line in (*rows, *columns)} == places
    _, counts = holes.unique(dim=0, return_counts=True)
    assert len(counts) == 36 and (counts - 100).abs().max() < 50, "5 standard deviations of a hundred"
    odd = Cutout(3, 0.5)(batch.real, batch)
    assert torch.equal(Cutout(3, 0.5, symmetric=True)(batch.real, batch), odd), "a pixel is in its middle"


@pytest.mark.parametrize("channels", [1, 3])
def test_color_is_brightness_then_saturation_then_contrast_of_each_sample(channels):
    batch = make_batch(n=16, shape=(channels, 4, 5))
    expected = []
    for i, x in enumerate(batch.real):
        b, s, c = (float(batch.uniform(f"color/{k}", 1, 1, 1)[i]) for k in ("brightness", "saturation", "contrast"))
        x = x + (b - 0.5) * 2 * 0.4
        grey = x.mean(0)
        x = grey + (x - grey) * (1 + (2 * s - 1) * 0.9)
        expected.append(x.mean() + (x - x.mean()) * (1 + (2 * c - 1) * 0.3))
    assert torch.allclose(Color(0.4, 0.9, 0.3)(batch.real, batch), torch.stack(expected), atol=1e-6)


def test_color_leaves_alpha_as_it_is():
    batch = make_batch(n=4, shape=(4, 3, 3))
    changed = Color()(batch.real, batch)
    assert torch.equal(changed[:, 3:], batch.real[:, 3:])
    assert torch.equal(changed[:, :3], Color()(batch.real[:, :3], batch))


def test_color_of_zero_strength_changes_nothing_and_its_draws_are_independent():
    batch = make_batch(n=4000, shape=(3, 2, 2))
    assert torch.allclose(Color(0.0, 0.0, 0.0)(batch.real, batch), batch.real, atol=1e-6)
    draws = [batch.uniform(f"color/{k}", 1, 1, 1).flatten() for k in ("brightness", "saturation", "contrast")]
    assert (torch.corrcoef(torch.stack(draws)) - torch.eye(3)).abs().max() < 0.1


@pytest.mark.parametrize(("size", "move", "hole"), [(32, 4, 16), (27, 3, 14), (29, 4, 15), (4, 1, 2), (3, 0, 2)])
def test_diffaugment_is_color_crop_and_symmetric_cutout(size, move, hole):
    """An eighth and a half of the size, rounded to the nearest pixel."""
    batch = make_batch(n=32, shape=(3, size, size))
    images = Color()(batch.real, batch)
    images = Crop(move, fill=0.0)(images, batch) if move else images
    images = Cutout(hole, symmetric=True)(images, batch)
    assert torch.equal(DiffAugment()(batch.real, batch), images)


def test_the_parts_of_diffaugment_can_be_left_out_and_follow_each_side_of_an_image():
    batch = make_batch(n=400, shape=(1, 8, 20))
    assert torch.equal(DiffAugment(False, False, False)(batch.real, batch), batch.real)
    ones = torch.ones(400, 1, 8, 20)
    holes = (DiffAugment(color=False, translation=False)(ones, batch) == 0)[:, 0]
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    assert (heights.min(), heights.max(), widths.min(), widths.max()) == (2, 4, 5, 10)
    borders = (DiffAugment(color=False, cutout=False)(ones, batch) == 0)[:, 0]
    assert (borders.all(2).sum(1).max(), borders.all(1).sum(1).max()) == (1, 3)


EVERY = [Crop(), Flip(), Cutout(4, 0.5), Cutout(4, symmetric=True), Color(), DiffAugment()]


@pytest.mark.parametrize("change", EVERY)
def test_a_change_is_a_function_of_seed_and_draw_and_differs_between_samples_and_draws(change):
    batch, twin = make_batch(), make_batch()
    same = batch.real[:1].expand(len(batch), -1, -1, -1)
    out = change(same, batch)
    assert torch.equal(out, change(same, batch)) and torch.equal(out, change(same, twin))
    assert len(out.unique(dim=0)) > 1
    assert not torch.equal(out, change(same, make_batch(index=1)))
    assert not torch.equal(out, change(same, make_batch(seed=8)))


@pytest.mark.parametrize("change", EVERY)
@pytest.mark.parametrize("world", [2, 4])
def test_the_shards_together_are_the_whole(change, world):
    whole = make_batch()
    shards = [make_batch(rank=rank, world=world) for rank in range(world)]
    assert torch.equal(torch.cat([change(b.real, b) for b in shards]), change(whole.real, whole))


@pytest.mark.parametrize("change", EVERY)
def test_images_are_not_changed_in_place_and_keep_shape_and_type(change):
    batch = make_batch()
    before = batch.real.clone()
    for dtype in (torch.float32, torch.float64):
        out = change(batch.real.to(dtype), batch)
        assert (out.shape, out.dtype) == (batch.real.shape, dtype)
    assert torch.equal(batch.real, before)


def test_changes_draw_independently_of_each_other_and_of_the_global_generator():
    batch = make_batch(n=4000, shape=(1, 2, 2))
    state = torch.get_rng_state()
    marked = torch.tensor([[[[1.0, 2.0], [1.0, 2.0]]]]).expand(4000, 1, 2, 2)
    flipped = Flip()(marked, batch)[:, 0, 0, 0] == 2
    cutted = (Cutout(4, 0.5, fill=9.0)(marked, batch) == 9).flatten(1).any(1)
    assert torch.corrcoef(torch.stack([flipped, cutted]).float())[0, 1].abs() < 0.1
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("change", EVERY)
def test_a_change_is_differentiable_in_the_images_to_second_order(change):
    batch = make_batch(n=3, shape=(2, 5, 4))
    images = batch.real.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: change(x, batch), images)
    assert torch.autograd.gradgradcheck(lambda x: change(x, batch).square(), images)


@pytest.mark.parametrize("change", EVERY)
def test_points_are_refused(change):
    batch = Batch(torch.zeros(4, 2), None, 0, 0, seed=0)
    with pytest.raises(UserError, match=r"augmentation \w+: expected images, got samples of shape \(2,\)"):
        change(batch.real, batch)


@pytest.mark.parametrize("change", EVERY)
def test_one_batch_under_two_names_is_changed_in_two_ways(change):
    batch = make_batch()
    one, again, other = (change(batch.real, batch.under(name)) for name in ("real", "real", "fake"))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one, change(batch.real, batch))


def test_a_real_batch_is_changed_alike_however_often_it_is_seen():
    from gantrain.data import Digits

    batches = Batches(Digits(), 16, seed=3)
    one, again = batches(5, 0), batches(5, 9)
    for change in EVERY:
        assert torch.equal(change(one.real, one), change(again.real, again))
