from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from image_sets import CLASSIFICATION, DIGITS, Tail, as_decoded, images
from PIL import Image
from tiny import RING, config_of, state
from torch import nn

from gantrain.builders import make_game
from gantrain.commands.train import train
from gantrain.config.parts import build
from gantrain.errors import UserError
from gantrain.metrics import Classifier, evaluate, make_extractor
from gantrain.runs.folder import open_run


def network_of(run):
    _, config = open_run(run)
    network = make_game(config, build("data", config.data.part)).classifier.eval()
    return network, state(run)


def test_features_are_what_the_last_linear_layer_is_given(classifier_run, classifier):
    network, of = network_of(classifier_run)
    network.load_state_dict(of["classifier"])
    *body, last = network.network.layers
    x = DIGITS.samples[:20]
    with torch.no_grad():
        features = nn.Sequential(network.standardise, *body)(DIGITS.decode(x))
    found = classifier(x)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.logits, last(features).detach())
    assert (classifier.dimensions, classifier.classes, classifier.channels) == (64, 10, 1)
    assert classifier.label == "digits-classifier"
    assert (classifier(DIGITS.samples).logits.argmax(1) == DIGITS.labels).float().mean() > 0.9


def test_averaged_weights_are_used_where_the_run_keeps_them(tmp_path):
    run = train(config_of(CLASSIFICATION, tmp_path, "run.steps=5", "ema={decay: 0.9}"))
    network, of = network_of(run)
    network.load_state_dict({name: tensor for name, tensor in of["ema"].items() if name != "n_averaged"})
    with torch.no_grad():
        expected = network(DIGITS.decode(DIGITS.samples[:9]))
        network.load_state_dict(of["classifier"])
        live = network(DIGITS.decode(DIGITS.samples[:9]))
    found = make_extractor(str(run))(DIGITS.samples[:9]).logits
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, live)


def test_statistics_are_kept_apart_for_another_size_and_another_decoding(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = network.requires_grad_(False)
    wide = {"shape": (1, 16, 16)}, {"decode": lambda levels: as_decoded(levels) / 2}
    usual = {"decode": as_decoded, "shape": (1, 8, 8), "name": "same"}
    fake, real = images(DIGITS.samples[:40]), images(DIGITS.samples[40:80])
    for other in ({}, *wide):
        extractor = Classifier(network, **usual | other)
        kept = evaluate(fake, real, extractor, ["fid"], cache=tmp_path).scalars
        assert kept == evaluate(fake, real, extractor, ["fid"]).scalars


def test_the_network_itself_is_left_alone_and_later_changes_do_not_reach_the_extractor():
    network = Tail(nn.Linear(5, 3)).train()
    extractor = Classifier(network, as_decoded, (1, 8, 8), "tail")
    before = extractor(DIGITS.samples[:4])
    with torch.no_grad():
        network.last.weight.zero_()
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert torch.equal(before.logits, extractor(DIGITS.samples[:4]).logits)
    assert not before.features.requires_grad


def test_the_identity_is_of_the_weights_and_the_architecture():
    torch.manual_seed(0)
    network = Tail(nn.Linear(5, 3))
    same, again = (Classifier(network, as_decoded, (1, 8, 8), name).identity for name in "ab")
    assert same == again
    network.body[2] = nn.Tanh()
    other = Classifier(network, as_decoded, (1, 8, 8), "a").identity
    with torch.no_grad():
        network.body[1].bias[0] += 1e-6
    assert len({same, other, Classifier(network, as_decoded, (1, 8, 8), "a").identity}) == 3


def test_a_network_that_ends_otherwise_is_refused():
    for last in (nn.Sequential(nn.Linear(5, 3), nn.Tanh()), nn.Flatten()):
        with pytest.raises(UserError, match="tail: the network does not end in a linear layer"):
            Classifier(Tail(last), as_decoded, (1, 8, 8), "tail")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            DIGITS.samples[:20].repeat(1, 3, 1, 1),
            r"data: images of 8 x 8 pixels \(RGB\), and .* of 8 x 8 pixels \(grey\)",
        ),
        (
            DIGITS.samples[:20].repeat(1, 2, 1, 1),
            r"data: images of 8 x 8 pixels \(2 channels\), .*; use a classifier trained on such images$",
        ),
    ],
)
def test_images_of_another_number_of_channels_are_one_line(classifier, samples, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(images(samples), None, classifier, ["isc"])
    assert "\n" not in str(caught.value)


def of_colours(shape=(3, 6, 10)):
    """A classifier of colours whose features are the pixels themselves, in [-1, 1]."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 4))
    return Classifier(network, as_decoded, shape, "colours")


@pytest.mark.parametrize("size", [(24, 50), (6, 30), (3, 7)], ids=["both sides", "one side", "enlarged"])
def test_images_of_another_size_are_scaled_as_pillow_scales_them(size):
    # Pillow rounds and clips between the two sides; levels that are not extreme are never clipped.
    stored = torch.randint(64, 192, (5, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = of_colours()(stored).features.add(1).mul(127.5).reshape(5, 3, 6, 10)
    for image, scaled in zip(stored, found, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(picture.resize((10, 6), Image.Resampling.BICUBIC)).astype(np.float32)
        assert np.abs(scaled.permute(1, 2, 0).numpy() - expected).max() <= 1.01
    levels = stored[:1].float()
    exact = of_colours().features(levels).add(1).mul(127.5).reshape(1, 3, 6, 10)
    assert (exact - found[:1]).abs().max() <= 0.501 and torch.equal(levels, stored[:1].float())
    assert not torch.equal(exact, exact.round())  # images along a path are not rounded


def test_grey_images_are_three_equal_channels_to_a_classifier_of_colours():
    grey = torch.randint(0, 256, (3, 1, 12, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    extractor = of_colours()
    extractor.require_shape((1, 12, 20), "data")
    for one in (grey, grey[:, :, :6, :10]):
        three = one.repeat(1, 3, 1, 1)
        assert torch.equal(extractor(one).features, extractor(three).features)
        assert torch.equal(extractor.features(one.float()), extractor.features(three.float()))


def test_what_is_no_classifier_is_one_line(tmp_path, classifier_run):
    run = train(config_of(RING, tmp_path, "run.steps=1"))
    with pytest.raises(UserError, match="ring: the game is a gan; features are those of a classification"):
        make_extractor(str(run))
    with pytest.raises(UserError, match="empty: no run here"):
        (tmp_path / "empty").mkdir()
        make_extractor(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="features: neither inception nor .*; did you mean 'inception'?"):
        make_extractor("incepton")
    with pytest.raises(UserError, match="weights: the classifier .* has its own in its checkpoint; leave the key out"):
        make_extractor(str(classifier_run), weights="x.pth")
