"""The context in which an oracle works: the gradients at the current point, and facts about the evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.games.base import Gradient, Objective, Player
from gantrain.gradients.collectives import begin_mean
from gantrain.gradients.evaluator import Evaluator
from gantrain.utils.seeding import generator
from gantrain.utils.shards import is_shard, shard_like


class GradientContext:
    """One player at the current joint point, on one batch.

    Args:
        evaluator: the evaluator that differentiates the game.
        player: the player whose gradient is wanted.
        optimizer: the player's optimizer.
        draw: the index of the batch.
        origin: the point from which the optimizer will step (the anchor), as one tensor for each parameter; None for
            the current point.
        observing: whether values that the oracle observes are logged.
        roles: the number of roles into which the processes divide for this player, one for each part of the oracle's
            evaluation; 1 if all processes do the same.

    Attributes:
        parameters: the player's parameters. An oracle that moves them must restore them.
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
    def step(self) -> int:
        """The training step in progress, counted from 0."""
        return self.evaluator.step

    @property
    def divided(self) -> bool:
        """Whether the processes have roles, one for each part of the oracle's evaluation."""
        return self.roles > 1

    def role(self) -> AbstractContextManager[None]:
        """Enter the role of this process: collectives inside the context join only the processes with this role."""
        return self.evaluator.processes.within(self.roles)

    @property
    def micro_batch(self) -> int:
        """The number of the micro-batch that is evaluated now."""
        return self.evaluator.accumulation.current[0]

    @property
    def last_micro_batch(self) -> bool:
        """Whether no other micro-batch of this batch comes after the current one."""
        part, parts = self.evaluator.accumulation.current
        return part == parts - 1

    def gradient(self, target: Callable[[Objective], Tensor] | None = None, **settings: Any) -> Gradient:
        """The gradient of one function of the objective, by default of the loss.

        Args:
            target: the function of the objective.
            settings: the keyword arguments of :meth:`gradients`.
        """
        (gradient,) = self.gradients(*([] if target is None else [target]), **settings)
        return gradient

    def gradients(
        self,
        *targets: Callable[[Objective], Tensor],
        auxiliary: bool = False,
        ahead: int = 0,
        counted: bool = True,
        observed: bool = True,
        selected: Callable[[Any], Any] | None = None,
    ) -> list[Gradient]:
        """Gradients of the player's objective on this process' micro-batch with respect to the player's parameters.

        Args:
            targets: the functions of the objective that are differentiated, all in one forward pass; by default the
                loss.
            auxiliary: whether all buffers are left as they were.
            ahead: the number of draws by which the batch lies ahead of the current draw.
            counted: whether the evaluation counts among the method's gradient evaluations. One for the log alone does
                not count.
            observed: whether loss and scores are recorded if :attr:`observing` is true.
            selected: makes a part of the batch, on which the objective is then computed; by default all of it counts.

        Returns:
            For each target a list with one entry for each parameter: a tensor, or None where the target does not
            depend on the parameter.

        Raises:
            UserError: in float16, the loss or its gradient is not finite, or the device cannot compute it.
        """
        observing = self.observing and observed
        draw = self.draw + ahead
        return self.evaluator.gradients(self.player, draw, targets, auxiliary, counted, observing, selected)

    def value(self, target: Callable[[Objective], Tensor]) -> Tensor:
        """The value of a function of the objective on this process' micro-batch, from a forward pass alone.

        Nothing is counted or recorded, and all buffers are left as they were.
        """
        return self.evaluator.value(self.player, self.draw, target)

    def averaged(self, evaluate: Callable[[], list[Gradient]]) -> list[Gradient]:
        """The gradients that ``evaluate`` returns, averaged over the micro-batches and all processes.

        The average is a collective in which all processes must take part, so an oracle may call this method in
        ``Oracle.start`` only.
        """
        return begin_mean(self.evaluator.processes, self.evaluator.accumulation.mean(evaluate))()

    def agreed(self, value: Tensor) -> float:
        """A 0-d tensor as a number on which all processes agree to the last bit: the lowest of theirs.

        Processors of different kinds may round differently, and processes that then decide differently would wait for
        each other forever. It is a collective, as :meth:`averaged` is.
        """
        return float(self.evaluator.processes.all_reduce_min(value.detach().double().cpu()))

    def observe(self, name: str, value: Tensor) -> None:
        """Record the mean of ``value`` under ``name`` for the log, if :attr:`observing` is true."""
        if self.observing:
            self.evaluator.observe(self.player.name, name, value)

    def require_finite(self, what: str, value: Tensor) -> None:
        """Refuse a 0-d tensor that is not finite; see :meth:`Evaluator.require_finite`."""
        self.evaluator.require_finite(self.player.name, what, value)

    def random_choice(self, probability: float) -> list[bool]:
        """Whether each parameter is chosen: a function of the seed, the player and the draw.

        Args:
            probability: the probability with which each parameter, a tensor, is chosen, independently of the others.
        """
        source = generator(self.evaluator.seed, f"choice/{self.player.name}", self.draw)
        return (torch.rand(len(self.parameters), generator=source, dtype=torch.float64) < probability).tolist()

    def random_direction(self) -> Gradient:
        """Standard normal numbers in the shape of the parameters: a function of the seed, the player and the draw."""
        source = generator(self.evaluator.seed, f"direction/{self.player.name}", self.draw)
        direction: Gradient = []
        # The numbers are drawn on the CPU, and neighbours of one data type go to the device in one piece.
        for (dtype, sharded), group in itertools.groupby(self.parameters, key=lambda p: (p.dtype, is_shard(p))):
            if sharded:  # no process has room for all
                direction += [shard_like(torch.empty(p.shape, dtype=dtype).normal_(generator=source), p) for p in group]
                continue
            shapes = [p.shape for p in group]
            sizes = [shape.numel() for shape in shapes]
            drawn = torch.empty(sum(sizes), dtype=dtype)
            for part in drawn.split(sizes):
                part.normal_(generator=source)
            parts = drawn.to(self.parameters[0].device, non_blocking=True).split(sizes)
            direction += [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        return direction
