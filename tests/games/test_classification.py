"""The one-player game: its objective by hand, its checks, and what is measured on held-out data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gantrain.data.batch import Batch
from gantrain.data.datasets.digits import Digits
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.classification import Classification
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

SPEC = DataSpec((1, 2, 2), classes=3)


def linear():
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module[1].reset_parameters()
    return module


def batch(n=5, seed=0):
    source = torch.Generator().manual_seed(seed)
    samples = torch.rand(n, 1, 2, 2, generator=source, dtype=torch.float64)
    return Batch(samples, torch.arange(n) % 3, 0, 0, seed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_objective_is_the_smoothed_cross_entropy(smoothing):
    network, data = linear(), batch()
    objective = Classification(network, smoothing).objective("classifier", data)
    logits = network(data.real)
    expected = 0.0
    for row, label in zip(logits.tolist(), data.labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        target = [smoothing / 3 + (1 - smoothing) * (k == label) for k in range(3)]
        expected += sum(t * (log_sum - v) for t, v in zip(target, row, strict=True)) / len(logits)
    assert objective.loss.item() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(objective.logits, logits) and torch.equal(objective.targets, data.labels)
    assert objective.scores["accuracy"].tolist() == (logits.argmax(1) == data.labels).float().tolist()


def test_the_hinge_loss_asks_the_label_for_a_margin_over_all_others():
    network, data = linear(), batch()
    objective = Classification(network, loss="hinge").objective("classifier", data)
    logits, expected = network(data.real), 0.0
    for row, label in zip(logits.tolist(), data.labels.tolist(), strict=True):
        expected += max(0.0, 1 + max(v for k, v in enumerate(row) if k != label) - row[label]) / len(logits)
    assert objective.loss.item() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(objective.logits, logits)
    with pytest.raises(UserError, match=r"^game.label_smoothing: the hinge loss has no target distribution; set it to"):
        Classification(network, 0.1, loss="hinge")


def test_augmentations_are_applied_in_turn_and_see_the_batch():
    network, data = linear(), batch()
    steps = [lambda x, b: x + b.index + 1, lambda x, b: 2 * x]
    found = Classification(network, augmentations=steps).objective("classifier", data)
    torch.testing.assert_close(found.logits, network(2 * (data.real + 1)))


def test_the_product_is_the_classifier():
    network = linear()
    game = Classification(network)
    assert game.evaluated_network is network and list(game.players) == ["classifier"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec((1, 2, 2)), r"^game: classification needs labels, and these data have none; choose labelled data$"),
        (
            DataSpec((1, 2, 2), 4),
            r"^game.classifier.model: Sequential: expected one logit per class for each sample, shape \(2, 4\), "
            r"floating-point and on cpu, got a tensor of shape \(2, 3\), float32, on cpu$",
        ),
    ],
)
def test_a_classifier_that_does_not_fit_the_data_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        Classification(linear().float(), spec=spec)


def test_the_check_leaves_no_trace():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    Classification(network, spec=SPEC)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and all(m.training for m in network.modules())


def test_validation_is_loss_and_accuracy_over_all_samples_in_evaluation_mode():
    data = Digits(split="test")
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 10))
    found = AccuracyEvaluation(data, 1, chunk=100).measure(network)
    logits = network[2](data.decode(data.samples).flatten(1))
    log_likelihood = logits.log_softmax(1)[torch.arange(len(logits)), data.labels]
    assert found["loss"] == pytest.approx(-log_likelihood.mean().item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == data.labels).float().mean().item(), abs=1e-7)
    assert network.training and network[1].training
