"""Buffers that move once in each training step, however often the step evaluates the game."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
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
        seen: the training step of the last evaluation, the number of its micro-batches in which the buffers have moved,
            and whether it is this process that moved them.
    """

    def __init__(self, buffers: Sequence[Tensor]):
        self.buffers = list(buffers)
        self.forget()

    def forget(self) -> None:
        """Take the next evaluation for the first of its step."""
        self.seen: tuple[int | None, int, bool] = None, 0, False

    def evaluation(self, step: int, part: int) -> AbstractContextManager[None]:
        """The context of an evaluation, which sets the buffers back if they have moved in this step already.

        Args:
            step: the training step.
            part: the number of the micro-batch.
        """
        parts, here = self.seen[1:] if self.seen[0] == step else (0, False)
        first = part == parts
        self.seen = step, parts + first, here or first
        return nullcontext() if first else preserve(self.buffers)

    def moved_elsewhere(self, step: int, parts: int) -> None:
        """Let no later evaluation of the step move the buffers, as other processes have moved theirs.

        Args:
            step: the training step.
            parts: the number of micro-batches.
        """
        self.seen = step, parts, self.seen[2] and self.seen[0] == step

    def average(self, processes: Processes) -> None:
        """Give all processes the mean over those that have moved the buffers; all must call this after each step."""
        if not self.buffers or processes.world_size == 1:
            return
        here = self.buffers[0].new_full((), float(self.seen[2]))
        *sums, share = processes.begin_mean([*(b * here for b in self.buffers), here])()
        means = [torch.where(share > 0, total / share, b) for total, b in zip(sums, self.buffers, strict=True)]
        copy_(self.buffers, means)
