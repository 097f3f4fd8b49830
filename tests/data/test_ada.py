"""The pipeline and the adaptive probability of StyleGAN2-ADA."""

import math

import pytest
import torch
from torch.nn.functional import grid_sample, pad

from gantrain.data import ADA, Batch
from gantrain.data.geometry import rotation, scaling, spread_in_order, translation, warped
from gantrain.errors import UserError

ONLY = {"flip": 0.0, "rotate90": 0.0, "shift": 0.0, "geometry": 0.0, "color": 0.0, "cutout": 0.0}


def batch_of(images, step=0):
    return Batch(images, None, index=step, step=step, seed=0)


def smooth(n=1, channels=3, height=32, width=32):
    """Images without high frequencies, which survive any resampling."""
    y = torch.linspace(0, math.pi, height)[:, None]
    x = torch.linspace(0, math.pi, width)[None]
    waves = [torch.sin(y + c) + torch.cos(x - c) * torch.sin(x / 2 + i) for i in range(n) for c in range(channels)]
    return torch.stack(waves).view(n, channels, height, width) / 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_probability_zero_is_the_identity(channels):
    images = torch.randn(8, channels, 12, 12)
    assert torch.equal(ADA(p=0.0, cutout=1.0)(images, batch_of(images)), images)
    assert torch.equal(ADA(cutout=1.0)(images, batch_of(images)), images)  # adaptive, at its start


def test_samples_that_are_not_chosen_stay_to_the_bit():
    images = torch.randn(64, 3, 8, 8)
    changed = ADA(p=0.1)(images, batch_of(images))
    same = (changed == images).flatten(1).all(dim=1)
    assert 5 < same.sum() < 60 and torch.isfinite(changed).all()


def test_the_share_of_cut_samples_is_the_probability_times_the_strength():
    images = torch.ones(4000, 1, 4, 4)
    changed = ADA(p=0.6, **{**ONLY, "cutout": 0.5})(images, batch_of(images))
    share = (changed == 0).flatten(1).any(dim=1).double().mean().item()
    # A rectangle of half the size covers the middle of a pixel wherever it lies; 5 standard deviations.
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 4000)


def test_maps_by_whole_pixels_are_exact_up_to_rounding():
    images = torch.randn(2, 3, 16, 12)
    moved = warped(images, translation(-torch.tensor([3.0, 3.0]), torch.tensor([2.0, 2.0])))
    expected = pad(images, (3, 3, 2, 2), mode="reflect")[:, :, 4:20, 0:12]
    torch.testing.assert_close(moved, expected, atol=2e-5, rtol=0)


def test_rotation_and_scaling_map_places_as_their_matrices_say():
    images = smooth(1, 1)
    turned = warped(images, rotation(torch.tensor([math.pi / 2])))
    # A place (x, y) shows what was at (-y, x): columns become rows, from right to left.
    torch.testing.assert_close(turned, images.transpose(2, 3).flip(3).flip(3).flip(2), atol=0.03, rtol=0)
    wide = warped(images, scaling(torch.tensor([0.5]), torch.tensor([1.0])))
    between = (images[..., 7:23] + images[..., 8:24])[..., 0:1] / 2  # the new border lies a quarter from the middle
    assert abs(float((wide[..., 0:1] - between).abs().max())) < 0.05


def test_it_is_differentiable_twice():
    torch.manual_seed(1)
    augmentation, weights, direction = ADA(p=1.0), torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)

    def slope(images):
        images = images.detach().requires_grad_(True)
        value = (augmentation(images, batch_of(images)) * weights).tanh().sum()
        (first,) = torch.autograd.grad(value, images, create_graph=True)
        return first.square().sum(), images

    at = torch.randn(2, 3, 8, 8)
    value, images = slope(at)
    (second,) = torch.autograd.grad(value, images)
    step = 2e-3
    difference = (slope(at + step * direction)[0] - slope(at - step * direction)[0]) / (2 * step)
    assert difference.item() == pytest.approx((second * direction).sum().item(), rel=0.02)


def test_p_moves_every_four_steps_by_the_images_since():
    ada, images = ADA(target=0.5, kimg=0.16), torch.zeros(8, 1, 8, 8)
    shares = [1.0, 0.5, 0.75, 0.25, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 0.0, 0.25, 0.0, 0.0, 0.5, 1.0]  # mean signs of D(x)
    seen = []
    for step, share in enumerate(shares):
        batch = batch_of(images, step)
        positive = round(4 * (1 + share))
        logits = torch.cat([torch.full((positive,), 3.0), torch.full((8 - positive,), -0.5)])
        ada.observe(logits, batch)
        ada.observe(-logits, batch)  # a second evaluation of the step
        seen.append(round(float(ada.scalars()["p"]), 6))
    # The means of four are 0.625, 0.5, 0.5625 and 0.375; each move is of 32 / 160.
    assert seen == [0.0] * 3 + [0.2] * 4 + [0.2] * 4 + [0.4] * 4 + [0.2]
    assert float(ada.scalars()["r"]) == 0.375


def test_p_stays_where_r_is_the_target():
    ada, images = ADA(target=0.6, kimg=0.1), torch.zeros(40, 1, 4, 4)
    for step, positive in enumerate((30, 35, 31, 32)):  # in all 96 of 160 more than negative
        ada.observe(torch.cat([torch.ones(positive), -torch.ones(40 - positive)]), batch_of(images, step))
    assert float(ada.scalars()["r"]) == 0.6 and float(ada.scalars()["p"]) == 0.0
    for step in range(4, 8):
        ada.observe(torch.ones(40), batch_of(images, step))
    assert float(ada.scalars()["p"]) == 1.0
    moved = float(ada.scalars()["p"])
    for step, positive in enumerate((30, 35, 31, 32), start=8):
        ada.observe(torch.cat([torch.ones(positive), -torch.ones(40 - positive)]), batch_of(images, step))
    assert float(ada.scalars()["p"]) == moved


def test_p_stays_between_zero_and_one_and_within_a_step():
    ada, images = ADA(kimg=0.005, every=1, **{**ONLY, "cutout": 1.0}), torch.ones(4, 1, 8, 8)
    batch = batch_of(images)
    assert torch.equal(ada(images, batch), images)
    ada.observe(torch.ones(4), batch)
    assert float(ada.scalars()["p"]) == pytest.approx(0.8)
    assert torch.equal(ada(images, batch), images)  # the step goes on with the p with which it began
    for step in (1, 2):
        batch = batch_of(images, step)
        ada(images, batch)
        ada.observe(torch.ones(4), batch)
    assert float(ada.scalars()["p"]) == 1.0 and float(ada.scalars()["r"]) == 1.0
    batch = batch_of(images, 3)
    assert (ada(images, batch) == 0).flatten(1).any(dim=1).all()
    for step in (3, 4, 5):
        ada.observe(-torch.ones(4), batch_of(images, step))
    assert float(ada.scalars()["p"]) == 0.0


def test_the_state_goes_on_where_it_was():
    images = torch.zeros(6, 1, 4, 4)
    ada, other = ADA(kimg=0.1), ADA(kimg=0.1)
    for step in range(10):
        if step == 6:
            other.load_state_dict({name: value for name, value in ada.state_dict().items()})
        for each in (ada, other) if step >= 6 else (ada,):
            each.observe(torch.tensor([1.0, 1, 1, 1, 1, -1 if step % 3 else 1]), batch_of(images, step))
    assert float(ada.scalars()["p"]) > 0
    for name, value in ada.state_dict().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state_dict()[name]))


def test_what_cannot_be_coloured_is_refused():
    images = torch.zeros(2, 2, 8, 8)
    with pytest.raises(UserError, match="ada: color: expected 1, 3 or 4 channels, got 2; use color: 0"):
        ADA(p=1.0)(images, batch_of(images))
    ADA(p=1.0, color=0.0)(images, batch_of(images))
    with pytest.raises(UserError, match="expected images"):
        ADA(p=1.0)(torch.zeros(2, 5), batch_of(torch.zeros(2, 5)))


def test_spreading_in_order_is_the_transpose_of_sampling():
    images = torch.randn(3, 2, 7, 9, dtype=torch.float64, requires_grad=True)
    grid = 2.4 * torch.rand(3, 5, 6, 2, dtype=torch.float64) - 1.2  # some of it outside of the images
    slopes = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    (expected,) = torch.autograd.grad(grid_sample(images, grid, align_corners=False), images, slopes)
    torch.testing.assert_close(spread_in_order(slopes, grid, images.shape), expected, atol=1e-12, rtol=0)
