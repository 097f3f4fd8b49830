"""Synchronisation of buffers between processes with different roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.utils.tensors import copy_, in_real_numbers, snapshot


class BufferSync:
    """Carries buffers (running statistics and counters) from the processes of the last role to all processes.

    Construct a ``BufferSync`` before the buffers move, and call :meth:`begin` once they have moved.

    Args:
        processes: the processes of the run.
        buffers: the buffers. The values of floating-point and complex buffers are carried over, and the increments of
            counters and flags; both are averaged over the processes of the last role.
        roles: the number of roles, at least 2.
    """

    def __init__(self, processes: Processes, buffers: Sequence[Tensor], roles: int):
        self.processes = processes
        self.roles = roles
        self.statistics = [b for b in in_real_numbers(buffers) if b.is_floating_point()]
        self.counters = [b for b in in_real_numbers(buffers) if not b.is_floating_point()]
        self.before = snapshot(self.counters)

    def begin(self) -> Callable[[], None]:
        """Begin to send or to receive. The function returned waits, and sets the buffers."""
        pairs = zip(self.counters, self.before, strict=True)
        gained = [(now.long() - old.long()).float() for now, old in pairs]  # torch subtracts no flags
        carried = [*self.statistics, *gained]
        finish = self.processes.begin_exchange([[]] * (self.roles - 1) + [carried])

        @torch.no_grad()
        def receive() -> None:
            *_, found = finish()
            copy_(self.statistics, found[: len(self.statistics)])
            gains = found[len(self.statistics) :]
            for counter, old, gain in zip(self.counters, self.before, gains, strict=True):
                counter.copy_(old.long() + gain.long())

        return receive
