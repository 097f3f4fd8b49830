"""The gradients that an oracle may ask for at the current point, and what else it may know."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.games.base import Gradient, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.utils.seeding import generator


class GradientContext:
    """One player at the current joint point, on one batch.

    Args:
        evaluator: that differentiates the game.
        player: whose gradient is wanted.
        optimizer: the player's optimizer.
        draw: of the batch.
        origin: where the optimizer will step from (the anchor), or None for the current point.
        observing: whether what is observed will be logged.
        roles: into how many roles the processes divide for this player, one for each part of the oracle's evaluation;
            1 where all do the same.

    Attributes:
        parameters: the player's parameters; an oracle that moves them puts them back.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        player: Player,
        optimizer: Optimizer,
        draw: int,
        origin: list[Tensor] | None = None,
        observing: bool = False,
        roles: int = 1,
    ):
        self.evaluator = evaluator
        self.player = player
        self.parameters = player.parameters
        self.optimizer = optimizer
        self.draw = draw
        self.origin = origin
        self.observing = observing
        self.roles = roles

    @property
    def divided(self) -> bool:
        """Whether the processes have roles, one for each part of the oracle's evaluation."""
        return self.roles > 1

    def role(self) -> AbstractContextManager[None]:
        """Put the processes that work on one part of the evaluation together in force."""
        return self.evaluator.processes.within(self.roles)

    @property
    def micro_batch(self) -> int:
        """The number of the micro-batch that is evaluated now."""
        return self.evaluator.accumulation.current[0]

    def gradient(self, target: Callable[[Objective], Tensor] | None = None, **settings: Any) -> Gradient:
        """The gradient of one function of the objective, by default the loss; otherwise as :meth:`gradients`."""
        (gradient,) = self.gradients(*([] if target is None else [target]), **settings)
        return gradient

    def gradients(
        self,
        *targets: Callable[[Objective], Tensor],
        auxiliary: bool = False,
        ahead: int = 0,
        counted: bool = True,
    ) -> list[Gradient]:
        """Gradients of the player's objective on this process' micro-batch with respect to the player's parameters.

        Args:
            targets: functions of the objective to differentiate, all in one forward pass; the loss by default.
            auxiliary: whether all buffers are left as they were.
            ahead: how many draws ahead of the current one the batch is taken.
            counted: whether this is one of the method's gradient evaluations, and not one for the log alone.

        Returns:
            For each target a list with one entry for each parameter: a tensor, or None where the target does not
            depend on the parameter.

        Raises:
            UserError: in float16, the loss or its gradient is not finite, or the device cannot compute it.
        """
        return self.evaluator.gradients(self.player, self.draw + ahead, targets, auxiliary, counted, self.observing)

    def averaged(self, evaluate: Callable[[], list[Gradient]]) -> list[Gradient]:
        """The gradients that ``evaluate`` finds, averaged over the micro-batches and all processes.

        The average takes a collective of its own, in which all processes must take part: ask for it in
        ``Oracle.start`` only.
        """
        return self.evaluator.averaged([self.evaluator.accumulation.mean(evaluate)])[0]

    def observe(self, name: str, value: Tensor) -> None:
        """Record the mean of ``value`` under ``name`` for the log, if this evaluation is observed."""
        if self.observing:
            self.evaluator.observe(self.player.name, name, value)

    def require_finite(self, what: str, value: Tensor) -> None:
        """Refuse a 0-d tensor that is not finite; see :meth:`Evaluator.require_finite`."""
        self.evaluator.require_finite(self.player.name, what, value)

    def random_direction(self) -> Gradient:
        """Standard normal numbers in the shape of the parameters: a function of the seed, the player and the draw."""
        source = generator(self.evaluator.seed, f"direction/{self.player.name}", self.draw)
        return [torch.randn(p.shape, generator=source, dtype=p.dtype).to(p.device) for p in self.parameters]
