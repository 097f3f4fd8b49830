"""Synchronisation of buffers between processes with different roles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.games.base import Gradient
from gantrain.utils.tensors import snapshot


class BufferSync:
    """Carries buffers (running statistics and counters) from the processes of the last role to all processes.

    Construct a ``BufferSync`` before the buffers move. Afterwards average the tensors that :meth:`sent` returns over
    all processes, and give the averages to :meth:`receive`.

    Args:
        processes: the processes of the run.
        buffers: the buffers. The values of floating-point buffers are carried over, and the increments of counters.
        roles: the number of roles, at least 2.
    """

    def __init__(self, processes: Processes, buffers: Sequence[Tensor], roles: int):
        self.roles = roles
        self.last = processes.role(roles) == roles - 1
        self.statistics = [b for b in buffers if b.is_floating_point()]
        self.counters = [b for b in buffers if not b.is_floating_point()]
        self.before = snapshot(self.counters)

    def sent(self) -> Gradient:
        """Tensors whose mean over all processes is that of the last role's values and increments."""
        gained = [(now - old).float() for now, old in zip(self.counters, self.before, strict=True)]
        return [t * self.roles if self.last else torch.zeros_like(t) for t in self.statistics + gained]

    @torch.no_grad()
    def receive(self, averages: Gradient) -> None:
        """Set the buffers to the averages of the tensors that :meth:`sent` returned."""
        means = [average for average in averages if average is not None]
        count = len(self.statistics)
        for buffer, average in zip(self.statistics, means[:count], strict=True):
            buffer.copy_(average)
        for counter, old, gained in zip(self.counters, self.before, means[count:], strict=True):
            counter.copy_(old + gained.to(old.dtype))
