from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from image_sets import DIGITS, Stack, digest, game, gaussian, generated, images
from PIL import Image

from gantrain.data import GaussianRing, as_data_set
from gantrain.errors import UserError
from gantrain.metrics import Generated, Images
from gantrain.metrics.sources.base import PIECE
from gantrain.plotting.images import save_png


def test_samples_are_what_a_png_file_would_hold(tmp_path):
    made = game()
    source = Generated.of(made, seed=1)
    wide = Generated(lambda n, seed: 3 * made.sample(n, seed), seed=1)
    for s in (source, wide):  # those beyond [-1, 1] are clipped
        for image in s.piece(0, 5, "cpu"):
            save_png(image, tmp_path / "image.png")
            with Image.open(tmp_path / "image.png") as file:
                assert np.array_equal(np.asarray(file), image[0].numpy())
    exact = made.sample(PIECE, seed=0)
    piece = Generated(lambda n, seed: exact).piece(0, PIECE, "cpu")
    expected = np.clip(np.round((exact.numpy().astype(np.float64) + 1) * 127.5), 0, 255)
    assert piece.dtype == torch.uint8 and np.abs(piece.numpy() - expected).max() <= 1
    assert (piece.numpy() == expected).mean() > 0.999  # but for ties in single precision
    assert wide.piece(0, PIECE, "cpu").min() == 0 and wide.piece(0, PIECE, "cpu").max() == 255


def test_samples_are_a_function_of_the_seed_and_the_piece():
    first, again, other = (generated(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.piece(3, 20, "cpu"), again.piece(3, 20, "cpu"))
    for different in (other.piece(3, 20, "cpu"), first.piece(2, 20, "cpu"), first.redrawn(1).piece(3, 20, "cpu")):
        assert not torch.equal(first.piece(3, 20, "cpu"), different)
    assert first.redrawn(0) is first


@pytest.mark.parametrize("conditional", [False, True])
def test_sampling_leaves_modes_buffers_and_random_states_alone(conditional):
    made = game(conditional)
    made.generator.train()
    made.generator.layers[1].eval()
    modes = [m.training for m in made.generator.modules()]
    weights = copy.deepcopy(made.generator.state_dict())
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    source = Generated.of(made, labels=DIGITS.labels)
    source.piece(0, PIECE, "cpu")
    assert [m.training for m in made.generator.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), made.generator.state_dict().values(), strict=True))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_samples_of_an_average_are_those_of_its_weights():
    made = game()
    other = copy.deepcopy(made.generator)
    with torch.no_grad():
        other.layers[-2].weight.mul_(2)
    mine, average = Generated.of(made), Generated.of(made, network=other)
    assert not torch.equal(mine.piece(0, 8, "cpu"), average.piece(0, 8, "cpu"))


def test_labels_are_as_frequent_as_in_the_data_though_these_are_sorted():
    labels, seen = torch.tensor([0] * 90 + [1] * 30), []

    def sample(n, seed, labels):
        seen.append(labels)
        return torch.zeros(n, 1, 8, 8)

    source = Generated(sample, labels=labels)
    source.piece(0, PIECE, "cpu")
    source.piece(1, 56, "cpu")
    assert 8 <= seen[0].sum() <= 24
    assert torch.cat(seen).sort().values.tolist() == labels.tolist()
    assert torch.equal(torch.cat(seen), source.labels_of(torch.arange(120, 240)))


def test_a_conditional_game_is_evaluated_with_equal_classes_by_default():
    source = Generated.of(game(conditional=True))
    assert source.labels_of(torch.arange(100)).bincount().tolist() == [10] * 10
    assert source.piece(0, 10, "cpu").shape == (10, 1, 8, 8)


def test_half_precision_is_rounded_as_single():
    exact = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).bfloat16()
    half, single = (Generated(lambda n, seed, x=x: x) for x in (exact, exact.float()))
    assert torch.equal(half.piece(0, 1, "cpu"), single.piece(0, 1, "cpu"))


def test_a_subset_of_sorted_data_is_random_and_always_the_same():
    samples = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(-1, 1, 8, 8)
    few, again = (images(samples).take(20) for _ in range(2))
    levels = few.piece(0, 20, "cpu")[:, 0, 0, 0].tolist()
    assert few.count == 20 and levels == sorted(set(levels)) and max(levels) > 70
    assert torch.equal(few.piece(0, 20, "cpu"), again.piece(0, 20, "cpu"))
    assert digest(few) == digest(again) != digest(images(samples))
    assert images(samples).take(100).count == 100


def test_the_digest_is_of_the_content():
    samples = DIGITS.samples.clone()
    before = digest(Images(Stack(samples)))
    assert before == digest(Images(DIGITS))
    samples[7, 0, 3, 3] ^= 1
    assert digest(Images(Stack(samples))) != before
    assert digest(Images(Stack(DIGITS.samples.view(-1, 1, 4, 16)))) != before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Generated(lambda n, seed: torch.zeros(n, 2)).piece(0, 4, "cpu"), r"got float32 of shape \(4, 2\)"),
        (lambda: Generated(lambda n, seed: DIGITS.samples[:n]).piece(0, 4, "cpu"), "got uint8 of shape"),
        (
            lambda: Generated(lambda n, seed: torch.full((n, 1, 8, 8), torch.nan)).piece(2, 4, "cpu"),
            "generator: sample 128 holds NaN or infinity; the training has diverged",
        ),
        (lambda: generated().take(None), "generator: how many samples"),
        (lambda: Images(GaussianRing(samples=8)), "data: these data are no images, and"),
        (lambda: images(DIGITS.samples[:0]), "data: holds no image"),
        (lambda: images(DIGITS.samples[:5]).take(6), "data: 6 images were asked for and there are 5"),
        (lambda: images(DIGITS.samples[:5]).redrawn(1), "data: is one draw; only a generator"),
    ],
)
def test_what_is_wrong_is_one_line(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_one_bad_sample_is_named():
    def sample(n, seed):
        out = gaussian(120, 10)(n, seed)
        out[5, 0, 0, 0] = torch.inf
        return out

    with pytest.raises(UserError, match="sample 69 holds"):
        Generated(sample).piece(1, 10, "cpu")


def test_metrics_see_images_with_alpha_over_white():
    levels = torch.tensor([[[[0]], [[100]], [[200]], [[255]]], [[[0]], [[100]], [[200]], [[0]]]], dtype=torch.uint8)
    levels = levels.expand(2, 4, 2, 2)
    over_white = torch.tensor([[[[0]], [[100]], [[200]]], [[[255]], [[255]], [[255]]]], dtype=torch.uint8)
    over_white = over_white.expand(2, 3, 2, 2)
    generated = Generated(lambda n, seed: levels[:n] / 127.5 - 1)
    assert torch.equal(generated.piece(0, 2, "cpu"), over_white)
    assert torch.equal(Images(as_data_set(levels)).piece(0, 2, "cpu"), over_white)
