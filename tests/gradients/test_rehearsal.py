"""The rehearsal before a run: every objective is computed once, and nothing shows it afterwards."""

from __future__ import annotations

import copy
import re
from functools import partial

import pytest
import torch
from tiny import same
from torch import nn

import gantrain as gt
from gantrain.errors import UserError
from gantrain.gradients.evaluator import Evaluator


class Counting(nn.Module):
    """Has buffers of all kinds, random numbers and an attribute that changes with every call."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(3), nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), nn.Dropout(0.5)
        )
        self.calls, self.seen = 0, []

    def forward(self, x):
        self.calls += 1
        return self.layers(x).square().mean()


def test_nothing_changes():
    asked = []
    game = gt.games.ZeroSum(lambda x, y, batch: x(batch) - y(batch), Counting(), Counting(), batches=None)
    evaluator = Evaluator(
        game,
        lambda draw, step: asked.append((draw, step)) or torch.randn(8, 3),
        reseed=torch.manual_seed,
        accumulation=2,
    )
    modules = [player.module for player in game.players.values()]
    before, random = copy.deepcopy([m.state_dict() for m in modules]), torch.get_rng_state()
    evaluator.rehearse()
    assert asked == [(0, 0)]
    assert same([m.state_dict() for m in modules], before) and torch.equal(torch.get_rng_state(), random)
    assert [m.calls for m in modules] == [0, 0] and all(p.grad is None for m in modules for p in m.parameters())
    assert evaluator.draws == 0 and set(evaluator.evaluations.values()) == {0} and not evaluator.observed
    assert evaluator.share == (0, 1)


@pytest.mark.parametrize(
    ("first", "wrong"),
    [
        (lambda x, y: (x - 2).log(), "objective('x'): the loss is nan before the first step; look in networks, losses"),
        (lambda x, y: y * 2, "objective('x'): the loss does not depend on the parameters of player x, which minimises"),
    ],
)
def test_an_objective_that_cannot_be_minimised_is_refused(first, wrong):
    start = torch.tensor(1.0)
    game = gt.games.GeneralSum({"x": first, "y": lambda x, y: x * y}, {"x": start, "y": start})
    with pytest.raises(UserError, match=f"game: GeneralSum.*{re.escape(wrong)}"):
        Evaluator(game, lambda draw, step: None).rehearse()


class InPlace(nn.Module):
    """Changes what the gradient of its square needs."""

    def __init__(self, outputs):
        super().__init__()
        self.latent_dim = 2
        self.layer = nn.Linear(2, outputs)

    def forward(self, x, labels=None):
        y = self.layer(x.view(len(x), -1))
        squares = y * y  # the operation
        y.mul_(2)
        return squares.squeeze(1)


class Halting(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, g):
        raise ValueError("no way back")  # the operation


class OwnLoss(gt.games.losses.NonSaturating):
    """Changes the logits, which their own softplus needs, or halts."""

    def __init__(self, operation):
        self.operation = operation

    def generator(self, real, fake):
        return self.operation(fake)


def wasted(fake):
    y = 2 * fake
    z = y.exp()  # the operation
    z += 1
    return z.mean()


def halted(fake):
    return Halting.apply(fake).mean()


def lines_with(text):
    with open(__file__, encoding="utf-8") as file:
        return [number for number, line in enumerate(file, 1) if line.rstrip().endswith(text)]


@pytest.mark.parametrize(
    ("generator", "discriminator", "operation", "player", "wrong"),
    [
        (InPlace(2), None, None, "generator", "RuntimeError on the way back: one of the variables needed"),
        (None, InPlace(1), None, "discriminator", "RuntimeError on the way back: one of the variables needed"),
        (None, None, wasted, "generator", "RuntimeError on the way back: one of the variables needed"),
        (None, None, halted, "generator", "ValueError on the way back: no way back"),
    ],
)
def test_an_error_on_the_way_back_names_the_line_of_its_operation(generator, discriminator, operation, player, wrong):
    data = gt.data.GaussianRing(samples=16)
    spec = data.spec.unconditional()
    game = gt.games.GAN(
        generator or gt.models.MLPGenerator(spec, width=4, latent_dim=2),
        discriminator or gt.models.MLPDiscriminator(spec, width=4),
        gt.games.losses.NonSaturating() if operation is None else OwnLoss(operation),
    )
    with pytest.raises(UserError, match=f"^game: the gradient of player {player}: {wrong}") as told:
        Evaluator(game, gt.data.Batches(data, 4, seed=0)).rehearse()
    places = [f"(test_rehearsal.py:{line})" for line in lines_with("  # the operation")]
    assert sum(place in str(told.value) for place in places) == 1 and "\n" not in str(told.value)
    assert ("write y = 2 * y" in str(told.value)) == (operation is not halted)


def test_an_error_of_gantrains_own_on_the_way_back_passes_through(monkeypatch):
    """The program that trains is the user's, too, and is not to blame."""
    monkeypatch.setattr(torch.autograd, "backward", partial(torch.reshape, torch.ones(2), (3,)))
    with pytest.raises(TypeError, match="reshape"):
        Evaluator(gt.games.Minimize(lambda x: x.square(), x=torch.ones(())), lambda draw, step: None).rehearse()
