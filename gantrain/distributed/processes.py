"""The processes that share a run's batches, and the roles into which they may divide."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gantrain.errors import UserError


class Processes:
    """The processes of a run, all alike or divided into roles: blocks of equally many that work on different things.

    What is at work is in force: all processes at first, those of one role inside :meth:`within`. Made by itself it is
    one process alone, whatever runs beside it; :meth:`launched` are those that a launcher started.

    Attributes:
        rank: this process' number among those in force.
        group_size: how many are in force.
        world_size: how many there are in all.
        group: their group in torch.distributed; None for all.
    """

    def __init__(self) -> None:
        self.rank, self.group_size = 0, 1
        self.group: dist.ProcessGroup | None = None
        self.world_size = 1
        self._roles = {1: 0}
        self._groups: dict[int, dist.ProcessGroup | None] = {1: None}

    @classmethod
    def launched(cls) -> Processes:
        """The processes of torch.distributed's default group; one alone where there is none."""
        processes = cls()
        if dist.is_available() and dist.is_initialized():
            processes.rank, processes.group_size = dist.get_rank(), dist.get_world_size()
            processes.world_size = processes.group_size
        return processes

    def divide(self, roles: int) -> None:
        """Prepare a division into ``roles`` blocks, which must divide their number."""
        self._roles[roles] = self.rank // (self.world_size // roles)

    def role(self, roles: int) -> int:
        """The role of this process, 0 … roles - 1, in a division that was prepared."""
        return self._roles[roles]

    @contextmanager
    def within(self, roles: int) -> Iterator[None]:
        """Put the processes of this one's role in force. All processes must enter the same division first."""
        role, size = self._roles[roles], self.world_size // roles
        if roles not in self._groups:
            # Made when all are known to be at work: it waits for all of them.
            groups = [dist.new_group(list(range(each * size, (each + 1) * size))) for each in range(roles)]
            self._groups[roles] = groups[role]
        outside = self.rank, self.group_size, self.group
        self.rank, self.group_size, self.group = self.rank - role * size, size, self._groups[roles]
        try:
            yield
        finally:
            self.rank, self.group_size, self.group = outside

    def all_reduce_mean(self, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors averaged over all processes, whichever are in force, in one flat ``all_reduce``.

        The flat buffer is of the tensors' common dtype; all processes must pass the same shapes.
        """
        if not tensors or self.world_size == 1:
            return tensors
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.world_size
        parts = flat.split([t.numel() for t in tensors])
        return [_like(t, part.view(t.shape).to(t.dtype)) for part, t in zip(parts, tensors, strict=True)]

    def all_reduce_min(self, tensor: Tensor) -> Tensor:
        """The elementwise minimum over the processes in force."""
        if self.group_size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, dist.ReduceOp.MIN, group=self.group)
        return tensor

    def gather_means(self, numbers: dict[Any, float]) -> dict[Any, float]:
        """Each number averaged over the processes that have it. For the log: it is slow."""
        gathered: list[Any] = [numbers]
        if self.world_size > 1:
            gathered *= self.world_size
            dist.all_gather_object(gathered, numbers)
        names = dict.fromkeys(name for each in gathered for name in each)
        return {name: statistics.fmean(each[name] for each in gathered if name in each) for name in names}

    def broadcast_object(self, value: Any) -> Any:
        """What the first process passes, in all of them."""
        if self.world_size > 1:
            box = [value]
            dist.broadcast_object_list(box, src=0)
            return box[0]
        return value

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of what the processes in force pass; the tensor itself is left as it is."""
        if self.group_size == 1:
            return tensor
        # A group of NCCL alone, which gantrain does not make, knows no tensors on the CPU.
        total = tensor.to("cuda" if dist.get_backend() == "nccl" else tensor.device, copy=True)
        dist.all_reduce(total, group=self.group)
        return total.to(tensor.device)

    def all_reduce_max(self, *numbers: float) -> list[float]:
        """Of each number the largest that a process passes. On the CPU, so that no GPU is waited for."""
        found = torch.tensor(numbers, dtype=torch.float64)
        if self.world_size > 1:
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors with those of the first process."""
        if self.world_size > 1:
            for t in tensors:
                dist.broadcast(t, 0)

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """What is wrong in one process is wrong in all: every process must enter, and none waits for one that gave up.

        Within the block there may be no other exchange. All processes leave it at the same time.

        Raises:
            UserError: that of the first process whose block raised an error. Other errors than UserErrors go on as they
                are where they were raised.
        """
        error = None
        try:
            yield
        except Exception as found:
            error = found
        errors = [None if error is None else signed(error, self.rank)]
        if self.world_size > 1:
            mine, errors = errors[0], [None] * self.world_size
            dist.all_gather_object(errors, mine)
        if error is not None and (self.world_size == 1 or not isinstance(error, UserError)):
            raise error
        wrong = next((e for e in errors if e is not None), None)
        if wrong is not None:
            raise UserError(wrong) from error

    def compare_with_first(self, find: Callable[[], Any], check: Callable[[Any, Any], None]) -> None:
        """Let each process check what it finds against what the first one finds: ``check(here, first)``.

        Raises:
            UserError: as in :meth:`raise_on_all`.
        """
        with self.raise_on_all():
            here = find()
        first = self.broadcast_object(here)
        with self.raise_on_all():
            check(here, first)

    def __deepcopy__(self, memo: dict[int, Any]) -> Processes:
        """A copied network is still of the same run."""
        return self


def _like(t: Tensor, values: Tensor) -> Tensor:
    """The values in the memory layout of ``t``, on which fused optimizers rely."""
    return values if t.stride() == values.stride() else torch.empty_like(t).copy_(values)


def signed(error: Exception, rank: int) -> str:
    """What an error says, and in which process it happened, unless that is the first, which speaks for all."""
    what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return what if rank == 0 else f"process {rank} on {socket.gethostname()}: {what}"
