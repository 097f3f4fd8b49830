"""What a training step costs, found out on a tiny game before the run."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD

from gantrain.games.base import Game, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner


@dataclass(frozen=True)
class Cost:
    """The costs of the first training step, which may prepare the others, and of each of the others.

    Attributes:
        gradients: the gradient evaluations of the player that is evaluated most often, in the two kinds of steps.
        draws: the batches that are drawn in them.
    """

    gradients: tuple[float, float]
    draws: tuple[float, float]


def steps_within(budget: float, cost: tuple[float, float]) -> int:
    """The number of steps that use up a budget, if the first step and each later one cost so much."""
    first, later = cost
    return 1 + max(0, math.ceil((budget - first) / later - 1e-9))


def cost_of_a_step(outer: Outer, learners: Sequence[Learner]) -> Cost | None:
    """The cost of a step of an outer loop with the learners' oracles; None if it depends on the game.

    Copies of the loop and of the oracles take steps in a flat game and in a steep one, where a line search tries other
    numbers of step sizes; an oracle says so itself. None also if one of them cannot move these games, as a part of a
    user's own may not.
    """
    if any(learner.oracle.data_dependent for learner in learners):
        return None
    try:
        flat, steep = (_cost(outer, learners, scale) for scale in (1.0, 1e6))
    except Exception:
        return None
    return flat if flat == steep else None


def _cost(outer: Outer, learners: Sequence[Learner], scale: float) -> Cost:
    players = [Player(learner.name, _Point()) for learner in learners]
    evaluator = Evaluator(_Bowls(players, scale), lambda draw, step: None)
    twins = [
        Learner(player, SGD(player.parameters, lr=0.1), copy.deepcopy(learner.oracle))
        for player, learner in zip(players, learners, strict=True)
    ]
    for twin in twins:
        twin.oracle.parallel = "off"
    loop, field = copy.deepcopy(outer), Field(evaluator, twins)
    loop.step(field)
    gradients, draws = max(evaluator.evaluations.values()), evaluator.draws
    loop.step(field)
    return Cost(
        (gradients, max(evaluator.evaluations.values()) - gradients),
        (draws, evaluator.draws - draws),
    )


class _Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([1.0, -1.0]))


class _Bowls(Game):
    """Each player descends a quadratic of its own."""

    def __init__(self, players: Sequence[Player], scale: float):
        super().__init__(players)
        self.scale = scale

    def objective(self, player: str, batch: object) -> Objective:
        at: Tensor = self.players[player].parameters[0]
        return Objective(self.scale * at.square().sum(), at[None], torch.zeros(1, dtype=torch.int64))
