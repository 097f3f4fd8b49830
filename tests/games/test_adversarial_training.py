"""Adversarial training: its objectives by hand, what the attack leaves alone, and what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gantrain.data.batch import Batch
from gantrain.data.datasets.digits import Digits
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.adversarial_training import AdversarialTraining
from gantrain.models import MLPPerturber
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

SPEC = DataSpec((1, 2, 2), classes=2)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()


def batch(n=6, index=0):
    source = torch.Generator().manual_seed(index)
    return Batch(torch.rand(n, 1, 2, 2, generator=source, dtype=torch.float64) - 0.5, torch.arange(n) % 2, index, 0, 0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", ["zero", "random"])
def test_the_classifier_of_two_classes_meets_the_worst_perturbation_in_closed_form(norm, start):
    network, data = linear(), batch()
    steps = 1 if start == "zero" else 60
    game = AdversarialTraining(
        network, 0.3, norm, ascent_steps=steps, step_size=0.3 if steps == 1 else 0.1, start=start
    )
    # The loss falls with the margin of the label, which is linear in the sample: its weights are a difference of rows.
    rows = network[1].weight.detach()
    against = torch.stack([rows[1 - y] - rows[y] for y in data.labels.tolist()])
    worst = against.sign() if norm == "linf" else against / against.norm(dim=1, keepdim=True)
    logits = network((data.real.flatten(1) + 0.3 * worst).view_as(data.real))
    found = game.objective("classifier", data)
    torch.testing.assert_close(found.logits, logits, atol=1e-9 if steps == 1 else 1e-4, rtol=0)
    assert torch.equal(found.targets, data.labels)
    # Danskin: the gradient at the worst perturbation is that of the maximum.
    expected = torch.autograd.grad(cross_entropy(logits, data.labels), list(network.parameters()))
    gradient = torch.autograd.grad(found.loss, list(network.parameters()))
    for one, other in zip(gradient, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_the_attack_leaves_modes_buffers_gradients_and_random_state_alone():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).double()
    game, data = AdversarialTraining(network, 0.3, ascent_steps=3), batch()
    before, state = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    attacked = game._perturbed(data.real, data.labels, data)
    assert not attacked.requires_grad and not torch.equal(attacked, data.real)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and all(m.training for m in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    game.objective("classifier", data)  # learns in training mode: one pass moves the statistics
    assert network[1].num_batches_tracked == 1


def test_a_perturber_plays_a_zero_sum_game_on_the_same_perturbed_samples():
    torch.manual_seed(0)
    network, perturber, data = linear(), MLPPerturber(SPEC, width=5).double(), batch()
    game = AdversarialTraining(network, 0.3, perturber=perturber, label_smoothing=0.1)
    assert list(game.players) == ["classifier", "perturber"] and game.evaluated_player == "classifier"
    one, other = game.objective("classifier", data), game.objective("perturber", data)
    moved = data.real + 0.3 * perturber(data.real, data.labels).tanh()
    loss = cross_entropy(network(moved), data.labels, label_smoothing=0.1)
    torch.testing.assert_close(one.loss, loss)
    torch.testing.assert_close(other.loss, -loss)
    for objective, player, sign in ((one, "classifier", 1), (other, "perturber", -1)):
        parameters = game.players[player].parameters
        opponent = next(p for name, p in game.players.items() if name != player).parameters
        for got, wanted in zip(
            torch.autograd.grad(objective.loss, parameters, retain_graph=True),
            torch.autograd.grad(sign * loss, parameters, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted)
        assert all(g is None for g in torch.autograd.grad(objective.loss, opponent, allow_unused=True))
    assert other.logits is None and all(p.requires_grad for p in network.parameters())
    game.joint = True  # as a diagnosis differentiates it
    joint = torch.autograd.grad(game.objective("classifier", data).loss, game.players["perturber"].parameters)
    assert any(g.any() for g in joint)


def test_accuracy_under_attack_takes_twice_the_steps_and_does_not_depend_on_the_chunks():
    torch.manual_seed(0)
    network, data = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), Digits(split="test")
    calls = []
    network.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    game = AdversarialTraining(network, 0.2, ascent_steps=3)
    found = [AccuracyEvaluation(data, 1, chunk=c, attacks=game.attacks()).measure(network) for c in (90, 7)]
    assert list(found[0]) == ["accuracy", "loss", "accuracy[pgd]", "loss[pgd]"]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["loss[pgd]"] > found[0]["loss"] and found[0]["accuracy[pgd]"] < found[0]["accuracy"]
    assert calls[: 4 + 4 * 7] == [False] * 4 + ([True] * 6 + [False]) * 4
    assert not calls[-1] and network.training


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: AdversarialTraining(linear(), 0.1, spec=DataSpec((7,), 2, vocabulary=9)),
            "^game: adversarial_training perturbs numbers, and these data are tokens",
        ),
        (
            lambda: AdversarialTraining(linear().float(), 0.1, perturber=Flat(SPEC), spec=SPEC),
            r"^game.perturber.model: Flat: expected values of the data's shape, shape \(2, 1, 2, 2\), .* \(2, 4\), ",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make()


class Flat(MLPPerturber):
    def forward(self, x, labels):
        return super().forward(x, labels).flatten(1)
