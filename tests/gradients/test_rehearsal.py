"""The rehearsal before a run: every objective is computed once, and nothing shows it afterwards."""

from __future__ import annotations

import copy
import re

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
