"""Buffers that move once in each training step, however often the step evaluates the game."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.utils.tensors import copy_, preserve


class OncePerStep:
    """Lets some buffers move in the first evaluation of each training step, and in no later one.

    Evaluations that leave all buffers alone do not count. With micro-batches, the buffers move in the first evaluation
    of each, since :class:`~gantrain.gradients.accumulation.GradientAccumulation` takes their mean.

    Args:
        buffers: the buffers.

    Attributes:
        seen: the training step of the last evaluation, and the number of its micro-batches in which the buffers have
            moved.
    """

    def __init__(self, buffers: Sequence[Tensor]):
        self.buffers = list(buffers)
        self.seen: tuple[int | None, int] = None, 0

    def evaluation(self, step: int, part: int) -> AbstractContextManager[None]:
        """The context of an evaluation, which sets the buffers back if they have moved in this step already.

        Args:
            step: the training step.
            part: the number of the micro-batch.
        """
        moved = self.seen[1] if self.seen[0] == step else 0
        self.seen = step, moved + (part == moved)
        return nullcontext() if part == moved else preserve(self.buffers)

    def average(self, processes: Processes) -> None:
        """Give the buffers their means over all processes, which all of them must ask for at the end of each step."""
        copy_(self.buffers, processes.begin_mean(self.buffers)())
