"""Real images beside samples: in the same places, of the same classes."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import DIGITS, RING, config_of

import gantrain as gt
from gantrain.commands.train import train
from gantrain.plotting.images import grid, load_png
from gantrain.train.callbacks.samples import real_images


@pytest.fixture(scope="module")
def digits():
    return gt.data.Digits()


def labels_of(images, data) -> list[int]:
    """The labels of training images that are found again by their pixels."""
    rows = data.decode(data.samples).flatten(1)
    return [data.labels[(rows == image.flatten()).all(1).nonzero()[0, 0]].item() for image in images]


def test_real_images_are_of_all_classes_in_turn_where_the_samples_are(digits):
    images = real_images(digits, 25, seed=3, by_class=True)
    assert labels_of(images, digits) == [i % 10 for i in range(25)]
    assert torch.equal(images, real_images(digits, 25, seed=3, by_class=True))
    assert not torch.equal(images, real_images(digits, 25, seed=4, by_class=True))
    any_images = real_images(digits, 25, seed=3)
    assert any_images.shape == (25, 1, 8, 8) and labels_of(any_images, digits) != [i % 10 for i in range(25)]


def test_few_images_come_again_and_a_class_without_any_is_grey(digits):
    few = copy.copy(digits)
    rows = torch.cat([(digits.labels == label).nonzero().flatten()[:2] for label in range(9)])
    few.samples, few.labels = digits.samples[rows], digits.labels[rows]
    images = real_images(few, 40, seed=0, by_class=True)
    assert (images[9::10] == 0).all()
    assert labels_of(images[:9], few) == list(range(9))
    assert torch.equal(images[0], images[20]) and not torch.equal(images[0], images[10])
    assert len(real_images(few, 40, seed=0)) == 18


def test_a_run_draws_them_once_in_a_grid_as_large_as_that_of_the_samples(tmp_path):
    settings = ("game.conditional=true", "samples={every: 2, count: 20}", "checkpoint.every=2")
    folder = train(config_of(DIGITS, tmp_path, *settings, "run.steps=4")) / "samples"
    before = (folder / "real.png").read_bytes()
    real, fake = (load_png(folder / name) for name in ("real.png", "step_000004.png"))
    assert real.shape == fake.shape == grid(torch.zeros(20, 1, 8, 8)).shape and not torch.equal(real, fake)
    train(config_of(DIGITS, tmp_path, *settings, "run.steps=6"), resume=True)
    assert (folder / "real.png").read_bytes() == before
    points = train(config_of(RING, tmp_path, "run.steps=2", "samples={every: 1000, count: 16}")) / "samples"
    assert [path.name for path in points.iterdir()] == ["step_000002.png"]
