"""Buffers that follow one role of the processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.games.base import Gradient


class BufferSync:
    """Buffers (running statistics and the like) on their way from the processes of the last role to all others.

    It is made before they move. What :meth:`sent` returns is averaged over all processes, and :meth:`receive` takes the
    averages over.

    Args:
        processes: of the run.
        buffers: floating-point ones are handed over as they are, of counters what they have gained.
        roles: how many there are, at least 2.
    """

    def __init__(self, processes: Processes, buffers: Sequence[Tensor], roles: int):
        self.roles = roles
        self.last = processes.role(roles) == roles - 1
        self.statistics = [b for b in buffers if b.is_floating_point()]
        self.counters = [b for b in buffers if not b.is_floating_point()]
        self.before = [c.clone() for c in self.counters]

    def sent(self) -> Gradient:
        """What averages to the buffers of the last role."""
        gained = [(now - old).float() for now, old in zip(self.counters, self.before, strict=True)]
        return [t * self.roles if self.last else torch.zeros_like(t) for t in self.statistics + gained]

    @torch.no_grad()
    def receive(self, averages: Gradient) -> None:
        """Take the averages over."""
        means = [average for average in averages if average is not None]
        count = len(self.statistics)
        for buffer, average in zip(self.statistics, means[:count], strict=True):
            buffer.copy_(average)
        for counter, old, gained in zip(self.counters, self.before, means[count:], strict=True):
            counter.copy_(old + gained.to(old.dtype))
