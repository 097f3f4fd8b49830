"""Learners: players with their optimizers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.config.schedules import ended
from gantrain.config.user_code import UserCode, name_of
from gantrain.errors import UserError
from gantrain.games.base import Game, Gradient, Player
from gantrain.optim.constraints import Resolvent
from gantrain.optim.optimizers import require_steps
from gantrain.optim.scheduled import ScheduledNumbers
from gantrain.sharpness.base import Oracle, Plain


class Learner:
    """A player with its optimizer, its gradient oracle and its constraint.

    Args:
        player: the player whose parameters move.
        optimizer: the optimizer, which has exactly the player's trainable parameters.
        oracle: the oracle that computes the player's gradient; the plain gradient by default.
        constraint: the resolvent that is applied to the player's parameters after each move; none by default.
        clip: the largest norm of the gradient, all parameters together, after the oracle and the mean over the
            processes; a longer one is scaled down to it. None, the default, clips nothing.

    Attributes:
        clipped: the number of gradients since the last log that were clipped, 0-d.
        evaluated: the number of gradients since then; 0 if none is clipped.

    Raises:
        UserError: the optimizer's step needs a closure, or its trainable parameters are not the player's; or the oracle
            does not fit the player or the optimizer.

    Examples:
        >>> import torch
        >>> from gantrain.sharpness import SAM
        >>> player = Player("classifier", torch.nn.Linear(2, 3))
        >>> Learner(player, torch.optim.SGD(player.parameters, lr=0.1), oracle=SAM(rho=0.05)).step_size
        0.1
    """

    def __init__(
        self,
        player: Player,
        optimizer: Optimizer,
        oracle: Oracle | None = None,
        constraint: Resolvent | None = None,
        clip: float | None = None,
    ):
        # Of the class: a scheduler of torch puts a function of its own in the place of the optimizer's step.
        _, *arguments = inspect.signature(type(optimizer).step).parameters.values()
        if any(a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
            raise UserError(
                f"game.{player.name}.optimizer: {name_of(optimizer)}.step needs an argument, such as a closure, and "
                "gradients are taken before it is called; expected step() without arguments"
            )
        _require_own_parameters(player, optimizer)
        self.name = player.name
        self.player = player
        self.parameters = player.parameters
        self.optimizer = optimizer
        self.oracle = oracle or Plain()
        with UserCode(f"game.{player.name}.sharpness", self.oracle):
            self.oracle.require(player, optimizer)
        self.constraint = constraint
        for value in (clip, ended(clip)):
            if value is not None and not value > 0:
                raise UserError(f"game.{player.name}.clip: expected a positive number, got {value:g}")
        self.clip = clip
        self.forget_clipped()

    def forget_clipped(self) -> None:
        """Count the clipped gradients from 0 again."""
        self.clipped = torch.zeros((), dtype=torch.int64)
        self.evaluated = 0

    def within_clip(self, gradient: Gradient, length: Tensor) -> Gradient:
        """The gradient, scaled down if it is longer than :attr:`clip`.

        Args:
            gradient: the gradient.
            length: its norm.
        """
        if self.clip is None:
            return gradient
        self.clipped = self.clipped.to(length.device) + (length > self.clip)
        self.evaluated += 1
        scale = (self.clip / length).clamp(max=1.0)  # of a gradient of zeros this is 1, of NaN it is NaN
        return [None if g is None else g * scale.to(g.dtype) for g in gradient]

    @property
    def step_size(self) -> float:
        """The learning rate of the first parameter group, which is the step size of the resolvent."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def step_sizes(self) -> list[float]:
        """The learning rate of each parameter; parameter groups may have different ones."""
        rates = {id(p): float(group["lr"]) for group in self.optimizer.param_groups for p in group["params"]}
        return [rates[id(p)] for p in self.parameters]


def _require_own_parameters(player: Player, optimizer: Optimizer) -> None:
    """Refuse an optimizer that does not hold exactly the player's trainable parameters."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    own = {id(p) for p in player.parameters}
    if held != own:
        raise UserError(
            f"game.{player.name}.optimizer: {name_of(optimizer)} lacks {len(own - held)} of the player's {len(own)} "
            f"trainable parameters, and has {len(held - own)} others; expected exactly the player's, as in "
            f"{type(optimizer).__name__}(player.parameters)"
        )


@contextmanager
def step_sizes(learners: Sequence[Learner], changed: Callable[[float], float]) -> Iterator[None]:
    """Changes all learning rates inside the context, and restores them at its end.

    Args:
        learners: the learners whose optimizers it is about.
        changed: gives the learning rate of a parameter group inside the context from that outside.
    """
    groups = [group for learner in learners for group in learner.optimizer.param_groups]
    before = [group["lr"] for group in groups]
    try:
        for group, lr in zip(groups, before, strict=True):
            group["lr"] = changed(lr)
        yield
    finally:
        for group, lr in zip(groups, before, strict=True):
            group["lr"] = lr


def scheduled_numbers(
    game: Game, learners: Sequence[Learner], outer: object, ema: object | None = None
) -> ScheduledNumbers:
    """The numbers of the parts of a run that follow schedules, set to their first values.

    Raises:
        UserError: a number cannot follow the schedule that it has been given.
    """
    parts: dict[str, object] = {"game": game}
    for learner in learners:
        named = {"optimizer": learner.optimizer, "sharpness": learner.oracle, "constraint": learner.constraint}
        parts |= {f"game.{learner.name}.{key}": part for key, part in named.items()}
        parts[f"game.{learner.name}"] = learner  # which has numbers of its own
    networks = {f"game.{name}.model": player.module for name, player in game.players.items()}
    numbers = ScheduledNumbers(parts | {"outer": outer, "ema": ema}, networks)
    for learner in learners:
        require_steps(learner.optimizer, numbers, f"game.{learner.name}.optimizer")
    return numbers
