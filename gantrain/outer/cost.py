"""What a training step costs, found out on a tiny game before the run."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.optim import SGD

from gantrain.games.base import Game, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner

# The costs of steps that come again after more steps are not looked for.
_LONGEST = 1000


@dataclass(frozen=True)
class Pace:
    """What training steps cost: the first one, which may prepare the others, and the others, which come in turns.

    Attributes:
        first: the cost of the first step.
        turn: the costs of the steps after it. When all of them have been taken, they come again.
    """

    first: float
    turn: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean cost of a step after the first."""
        return sum(self.turn) / len(self.turn)

    @property
    def least(self) -> float:
        """The least cost of a step after the first."""
        return min(self.turn)

    def of(self, step: int) -> float:
        """The cost of a step; the steps are counted from 0."""
        return self.turn[(step - 1) % len(self.turn)] if step else self.first

    def used(self, steps: int) -> Fraction:
        """The cost of so many steps together, from the first on."""
        if not steps:
            return Fraction(0)
        turns, rest = divmod(steps - 1, len(self.turn))
        return Fraction(self.first) + turns * sum(map(Fraction, self.turn)) + sum(map(Fraction, self.turn[:rest]))

    def steps_within(self, budget: float) -> int:
        """The number of steps that use up a budget; at least one."""
        per_turn = sum(self.turn)
        steps = 1 + len(self.turn) * max(0, math.floor((budget - self.first) / per_turn - 1e-9))
        while self.used(steps) < Fraction(budget) - Fraction(1e-9 * per_turn):
            steps += 1
        return steps


@dataclass(frozen=True)
class Highest:
    """What the player that has used most so far has used, where that is not always the same player.

    Attributes:
        paces: those of the players, as in :class:`Pace`.
    """

    paces: tuple[Pace, ...]

    @property
    def mean(self) -> float:
        """The mean cost of a step after many of them."""
        return max(pace.mean for pace in self.paces)

    @property
    def least(self) -> float:
        """A bound below which no step after the first costs."""
        return min(pace.least for pace in self.paces)

    def of(self, step: int) -> float:
        """The cost of a step; the steps are counted from 0."""
        return float(self.used(step + 1) - self.used(step))

    def used(self, steps: int) -> Fraction:
        """The cost of so many steps together, from the first on."""
        return max(pace.used(steps) for pace in self.paces)

    def steps_within(self, budget: float) -> int:
        """The number of steps that use up a budget; at least one."""
        return min(pace.steps_within(budget) for pace in self.paces)


@dataclass(frozen=True)
class Cost:
    """The costs of training steps.

    Attributes:
        gradients: the gradient evaluations of the player that is evaluated most often.
        draws: the batches that are drawn.
    """

    gradients: Pace | Highest
    draws: Pace


def period(learners: Sequence[Learner]) -> int:
    """The number of steps after which all oracles evaluate as many gradients again."""
    return math.lcm(*(learner.oracle.period for learner in learners))


def cost_of_a_step(outer: Outer, learners: Sequence[Learner]) -> Cost | None:
    """The cost of a step of an outer loop with the learners' oracles; None if it depends on the game.

    Copies of the loop and of the oracles take steps in a flat game and in a steep one, where a line search tries other
    numbers of step sizes; an oracle says so itself. None also if one of them cannot move these games, as a part of a
    user's own may not, or if the costs come again after more than 1000 steps only.
    """
    turn = period(learners)
    if turn > _LONGEST or any(learner.oracle.data_dependent for learner in learners):
        return None
    try:
        flat, steep = (_used(outer, learners, scale, steps) for scale, steps in ((1.0, 1 + turn), (1e6, 2)))
    except Exception:
        return None
    *gradients, draws = map(_pace, flat)
    return Cost(_highest(gradients), draws) if [used[:3] for used in flat] == steep else None


def _used(outer: Outer, learners: Sequence[Learner], scale: float, steps: int) -> list[list[int]]:
    """What has been used before the first of some steps, and after each: the players' gradients, and last the draws."""
    players = [Player(learner.name, _Point()) for learner in learners]
    evaluator = Evaluator(_Bowls(players, scale), lambda draw, step: None)
    twins = [
        # With momentum, from which an oracle may take its direction.
        Learner(player, SGD(player.parameters, lr=0.1, momentum=0.9), copy.deepcopy(learner.oracle))
        for player, learner in zip(players, learners, strict=True)
    ]
    for twin in twins:
        twin.oracle.parallel = "off"
    loop, field = copy.deepcopy(outer), Field(evaluator, twins)
    used = [[0] * (len(players) + 1)]
    for _ in range(steps):
        loop.step(field)
        evaluator.step += 1
        used.append([*evaluator.evaluations.values(), evaluator.draws])
    return [list(each) for each in zip(*used, strict=True)]


def _pace(used: Sequence[int]) -> Pace:
    first, *turn = (later - before for before, later in itertools.pairwise(used))
    return Pace(first, tuple(turn))


def _highest(paces: Sequence[Pace]) -> Pace | Highest:
    """The highest of the paces at every step, which all have turns of one length."""
    turn = range(len(paces[0].turn) + 2)
    largest = max(paces, key=lambda pace: (pace.mean, pace.first))
    if all(largest.used(steps) >= pace.used(steps) for pace in paces for steps in turn):
        return largest
    return Highest(tuple(paces))


class _Point(nn.LayerNorm):
    """A point in the plane, among the parameters of a norm, for oracles that perturb such parameters only."""

    def __init__(self) -> None:
        super().__init__(2)
        with torch.no_grad():
            self.weight.copy_(torch.tensor([1.0, -1.0]))


class _Bowls(Game):
    """Each player descends a quadratic of its own."""

    def __init__(self, players: Sequence[Player], scale: float):
        super().__init__(players)
        self.scale = scale

    def objective(self, player: str, batch: object) -> Objective:
        at: Tensor = self.players[player].parameters[0]
        return Objective(self.scale * at.square().sum(), at[None], torch.zeros(1, dtype=torch.int64))
