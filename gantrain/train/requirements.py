"""What is refused before a run begins: parts that do not fit each other, and settings that the run cannot follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from gantrain.config.base import one_of
from gantrain.config.clock import in_images
from gantrain.config.schema import wrong_weights
from gantrain.config.types import Interval
from gantrain.config.user_code import described, name_of
from gantrain.data.batch import Batches
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.optim.ema import EMA
from gantrain.outer.base import Outer
from gantrain.outer.learner import Learner
from gantrain.train.callbacks.base import Callback

# The parts of a checkpoint that are no player's.
_CHECKPOINT_PARTS = ("clock", "field", "outer", "ema", "evaluation", "undone")


def require_kind(argument: str, value: Any, cls: type, expected: str) -> None:
    """Refuse an argument of another class than ``cls``; ``expected`` says what it should be."""
    if not isinstance(value, cls):
        raise UserError(f"{argument}: expected {expected}, got {described(value)}")


def require_players(game: Game, learners: Sequence[Learner]) -> None:
    """Refuse learners of other players than the game's, and players whose names a checkpoint cannot hold."""
    if [learner.name for learner in learners] != list(game.players):
        raise UserError(
            f"learners: expected one for each player in the order in which they move, {', '.join(game.players)}; "
            f"got {', '.join(learner.name for learner in learners) or 'none'}"
        )
    for name in game.players:
        if name in _CHECKPOINT_PARTS or not name.isidentifier():
            raise UserError(
                f"player {name!r}: expected a name like a Python variable's, and none of "
                f"{', '.join(_CHECKPOINT_PARTS)}, which name other parts of a checkpoint"
            )


def require_schedulers(schedulers: Mapping[str, LRScheduler], learners: Sequence[Learner]) -> None:
    """Refuse schedulers that are not given by player, each with the player's own optimizer."""
    if not isinstance(schedulers, Mapping):
        raise UserError(
            f"schedulers: expected a mapping from players to schedulers, {{'{learners[0].name}': scheduler}}; got "
            f"{described(schedulers)}"
        )
    optimizers = {learner.name: learner.optimizer for learner in learners}
    for name, scheduler in schedulers.items():
        if name not in optimizers:
            raise UserError(f"schedulers: no player is called {name!r}; expected {one_of(optimizers)}")
        if getattr(scheduler, "optimizer", None) is not optimizers[name]:
            raise UserError(
                f"schedulers: that of {name}, a {type(scheduler).__name__}, does not belong to the player's optimizer; "
                "expected a torch.optim.lr_scheduler.LRScheduler of the optimizer that its learner has"
            )


def require_joint_ascent(learner: Learner) -> None:
    """Refuse an oracle that climbs each process' own gradient: the gradient of a sharded network is the mean."""
    oracle = learner.oracle
    if oracle.local_ascent:
        instead = "ascent: global" if hasattr(oracle, "ascent") else "sam with ascent: global"
        raise UserError(
            f"game.{learner.name}.sharpness: {name_of(oracle)} climbs each process' own gradient, and with "
            f"run.sharding there is the mean of all only; use {instead}"
        )


def require_averages(averages: Mapping[str, EMA], game: Game, outer: Outer, batches: Batches) -> None:
    """Refuse averages that a run of this game with this loop and these batches cannot keep."""
    evaluated = set(game.evaluated_network.parameters())
    for average in averages.values():
        key = "ema" if len(averages) == 1 else f"ema: {average.name}"
        if set(average.source.parameters()) != evaluated:
            raise UserError(
                f"{key}: averages a {type(average.source).__name__} that is not the game's evaluated network; expected "
                "gt.EMA(game.evaluated_network, …)"
            )
        if average.of == "anchor" and not outer.has_anchor:
            raise UserError(
                f"{key}: of: anchor: the outer loop {type(outer).__name__} has no anchor; use of: live, or a "
                "loop that has one, such as lookahead or rapp"
            )
        if batches.spec.empty and (average.half_life_kimg is not None or in_images(average.start)):
            raise UserError(f"{key}: counts images, and the game sees no samples; use decay or uniform")


def require_intervals(intervals: Iterable[tuple[str, Interval]], batches: Batches) -> None:
    """Refuse intervals, each with its key, that count images where the game sees none."""
    for key, every in intervals:
        if in_images(every) and batches.spec.empty:
            raise UserError(f"{key}: counts images, and the game sees no samples; use steps or gradients")


def require_weights(callbacks: Sequence[Callback], averages: Mapping[str, EMA]) -> None:
    """Refuse callbacks that ask for weights which the run does not have."""
    for callback in callbacks:
        wrong = wrong_weights(callback.weights, list(averages))
        if wrong is not None:
            raise UserError(f"{name_of(callback)}.weights: {wrong}")
