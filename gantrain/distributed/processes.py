"""The processes that share a run's batches, and the roles into which they may divide."""

from __future__ import annotations

import socket
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gantrain.config.sections import TIMEOUT
from gantrain.distributed.environment import launched_place
from gantrain.distributed.watch import require_others
from gantrain.errors import UserError, lost_another
from gantrain.utils.abandon import Abandoned, between_batches
from gantrain.utils.shared_work import Sharing, sharing
from gantrain.utils.waiting import within

Value = TypeVar("Value")
# Seconds in which the store that the processes share must answer.
_PATIENCE = 5.0
# Seconds between two signs of life of a process that the others wait for; run.timeout is at least 1.
_BEAT = 0.25


class _Told(BaseException):
    """All processes know that one has failed. It is no Exception, which the work that it ends might take for its own.

    Args:
        own: the error of this process, if it has failed.
    """

    def __init__(self, own: Exception | None):
        super().__init__()
        self.own = own


class Processes:
    """The processes of a run, which may divide into roles: groups of equal size that work on different things.

    The current group consists of all processes, and inside :meth:`within` of the processes that have the same role.
    The constructor describes a single process, whatever runs beside it; :meth:`launched` describes the processes that
    a launcher started.

    Attributes:
        rank: the number of this process in the current group.
        group_size: the number of processes in the current group.
        world_size: the number of all processes.
        group: the current group in torch.distributed; None stands for all processes.
    """

    def __init__(self) -> None:
        self.rank, self.group_size = 0, 1
        self.group: dist.ProcessGroup | None = None
        self.world_size = 1
        self._timeout = timedelta(seconds=TIMEOUT)
        self._store_answers = True
        self._roles = {1: 0}
        self._groups: dict[int, dist.ProcessGroup | None] = {1: None}
        self._routes: dict[int, dist.ProcessGroup] = {}

    @classmethod
    def launched(cls, timeout: float = TIMEOUT) -> Processes:
        """The processes of torch.distributed's default group, or this process alone where there is no group.

        Args:
            timeout: the seconds that the processes of a role wait for each other.

        Raises:
            UserError: Accelerate, over which objects are exchanged, knows of another number of processes.
        """
        processes = cls()
        processes._timeout = timedelta(seconds=timeout)
        if dist.is_available() and dist.is_initialized():
            processes.rank, processes.group_size = dist.get_rank(), dist.get_world_size()
            processes.world_size = processes.group_size
        if processes.world_size > 1:
            from accelerate import PartialState

            known = PartialState(cpu=not torch.cuda.is_available()).num_processes
            if known != processes.world_size:
                raise UserError(
                    f"torch.distributed has {processes.world_size} processes, and Accelerate {known}; set RANK, "
                    "WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in each, as torchrun does, and on CPUs make "
                    "its first Accelerator with cpu=True"
                )
        return processes

    def divide(self, roles: int) -> None:
        """Prepare a division into ``roles`` groups of consecutive processes; ``roles`` must divide their number."""
        self._roles[roles] = self.rank // (self.world_size // roles)

    def role(self, roles: int) -> int:
        """The role of this process, from 0 to ``roles - 1``, in a division that :meth:`divide` has prepared."""
        return self._roles[roles]

    def own_group(self, ranks: Sequence[Sequence[int]]) -> dist.ProcessGroup:
        """The group of torch.distributed that this process has in a division; all processes must make it together.

        Args:
            ranks: the numbers of the processes of each group; this process is in one of them.
        """
        # torch would give the groups its own timeout of half an hour, not that of the group of all processes.
        groups = [dist.new_group(list(each), timeout=self._timeout) for each in ranks]
        (own,) = (group for group in groups if isinstance(group, dist.ProcessGroup))  # others are placeholders
        return own

    @contextmanager
    def within(self, roles: int) -> Iterator[None]:
        """Make the processes with this process' role the current group inside the block.

        When a division is entered for the first time, all processes must enter it.
        """
        role, size = self._roles[roles], self.world_size // roles
        if roles not in self._groups:
            # Accelerate has no groups, so those of roles are torch's, and so are their collectives. They are made here
            # and not in divide, since making them waits for all processes.
            ranks = [list(range(each * size, (each + 1) * size)) for each in range(roles)]
            self._groups[roles] = self.own_group(ranks)
            # Messages of different divisions must not be taken for each other, so each division has ways of its own.
            self._routes[roles] = self.own_group([list(range(self.world_size))])
        outside = self.rank, self.group_size, self.group
        self.rank, self.group_size, self.group = self.rank - role * size, size, self._groups[roles]
        try:
            yield
        finally:
            self.rank, self.group_size, self.group = outside

    def begin_mean(self, tensors: list[Tensor]) -> Callable[[], list[Tensor]]:
        """Begin to average tensors over all processes, also those outside the current group, in one ``all_reduce``.

        The tensors are concatenated in their common dtype; all processes must pass the same shapes.

        Returns:
            A function that waits for the averages.
        """
        if not tensors or self.world_size == 1:
            return lambda: tensors
        flat = _flat(tensors)
        finish = _begin_mean(flat, None, self.world_size)
        return lambda: _parts(finish(), tensors)

    def begin_exchange(self, tensors: Sequence[list[Tensor]]) -> Callable[[], list[list[Tensor]]]:
        """Begin to exchange tensors between roles; :meth:`within` has been entered for them before.

        The processes of each role average their tensors. Each of them then sends the averages, in their common dtype,
        to the process at its own place in every other role.

        Args:
            tensors: for each role its tensors. Those of this process' role are sent; of the others shapes and dtypes
                count, in which they are received. A role may have none.

        Returns:
            A function that waits for the tensors of all roles.
        """
        roles = len(tensors)
        role, route = self._roles[roles], self._routes[roles]
        others = [number for number in range(roles) if number != role]
        flats = [_flat(each) if number == role else _flat_like(each) for number, each in enumerate(tensors)]
        found = list(tensors)
        with self.within(roles):
            place, size = self.rank, self.group_size
            if tensors[role] and size > 1:
                found[role] = _parts(_begin_mean(flats[role], self.group, size)(), tensors[role])
        messages = []
        for other in others:
            if tensors[role]:
                messages.append(dist.P2POp(dist.isend, flats[role], other * size + place, route))
            if tensors[other]:
                messages.append(dist.P2POp(dist.irecv, flats[other], other * size + place, route))
        # By torch: Accelerate sends nothing from one process to another.
        works = dist.batch_isend_irecv(messages) if messages else []

        def finish() -> list[list[Tensor]]:
            for work in works:
                work.wait()
            for other in others:
                found[other] = _parts(flats[other], tensors[other])
            return found

        return finish

    def all_reduce_min(self, tensor: Tensor) -> Tensor:
        """The elementwise minimum over the processes of the current group."""
        if self.group_size > 1:
            tensor = tensor.clone()
            # By torch, in the group of a role.
            dist.all_reduce(tensor, dist.ReduceOp.MIN, group=self.group)
        return tensor

    def gather_means(self, numbers: dict[Any, float]) -> dict[Any, float]:
        """Average each number over the processes that have it. This is slow and meant for the log."""
        gathered = self.gather(numbers)
        names = dict.fromkeys(name for each in gathered for name in each)
        return {name: statistics.fmean(each[name] for each in gathered if name in each) for name in names}

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes in the order of their numbers; they are pickled on the way."""
        if self.world_size == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])

    def broadcast_object(self, value: Value) -> Value:
        """The value that the first process passes, returned in all processes; it is pickled on the way."""
        if self.world_size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes of the current group; the tensor itself is not changed."""
        if self.group_size == 1:
            return tensor
        # gantrain's own groups have gloo for tensors on the CPU; a group that others made may have NCCL alone.
        total = tensor.to("cuda" if dist.get_backend() == "nccl" else tensor.device, copy=True)
        dist.all_reduce(total, group=self.group)  # by torch, in the group of a role
        return total.to(tensor.device)

    def mean_of_first_role(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over the processes that have the first of the current roles, returned in all processes.

        All processes must call this. Outside of :meth:`within` all of them count.
        """
        if self.world_size == 1:
            return tensor
        roles = self.world_size // self.group_size
        first = roles == 1 or self._roles[roles] == 0
        flat = tensor.clone() if first else torch.zeros_like(tensor)
        return _begin_mean(flat, None, self.group_size, everyone=roles == 1)()

    def all_reduce_max(self, *numbers: float) -> list[float]:
        """The maximum of each number over all processes, exchanged on the CPU so that no one waits for a GPU.

        The numbers go up and down a tree, in which each process has at most two below it. Among N processes they take
        about 2 log2 N messages one after the other, where an ``all_reduce`` of gloo takes 2 N.
        """
        found = torch.tensor(numbers, dtype=torch.float64)
        if self.world_size == 1:
            return found.tolist()
        from accelerate.utils import broadcast

        rank, received = dist.get_rank(), torch.empty_like(found)
        # By torch: Accelerate sends nothing from one process to another.
        for below in range(2 * rank + 1, min(2 * rank + 3, self.world_size)):
            dist.recv(received, below)
            torch.maximum(found, received, out=found)
        if rank > 0:
            dist.send(found, (rank - 1) // 2)
        return broadcast(found).tolist()

    @torch.no_grad()
    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors, in all processes, with those of the first process; all must pass the same shapes.

        Tensors of one dtype on one device go together, in one ``broadcast``.
        """
        if self.world_size == 1:
            return
        from accelerate.utils import broadcast

        alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for t in tensors:
            alike.setdefault((t.dtype, t.device), []).append(t)
        for group in alike.values():
            flat = broadcast(torch.cat([t.reshape(-1) for t in group]))
            for t, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
                t.copy_(part.view(t.shape))

    @torch.no_grad()
    def broadcast_to_hosts(self, tensor: Tensor) -> None:
        """Overwrite a tensor on the CPU in the first process of each host with that of the first process of all.

        All processes must call this; in the others nothing happens to the tensor.
        """
        place = launched_place()
        first = place is None or place.local_rank == 0
        firsts = [rank for rank, is_first in enumerate(self.gather(first)) if is_first]
        if len(firsts) > 1:
            # By torch, which has groups; only processes of this one connect.
            group = dist.new_group(firsts, timeout=self._timeout)
            if first:
                assert isinstance(group, dist.ProcessGroup)  # not torch's placeholder for groups of other processes
                dist.broadcast(tensor, 0, group=group)

    def post(self, notice: str) -> None:
        """Leave a notice that the other processes find by :meth:`posted`. None of them waits for it."""
        if self.world_size > 1:
            self._ask(lambda store: store.set(notice, ""))

    def posted(self, notice: str) -> bool:
        """Whether a process has left this notice. False where it cannot be known, since the launcher has ended."""
        return self.world_size > 1 and bool(self._ask(lambda store: store.check([notice])))

    def _ask(self, question: Callable[[dist.Store], Value]) -> Value | None:
        """The answer of the store that the processes share; None if it gives none, and it is not asked again then.

        The store lies in the launcher or in the first process. If that was stopped, it would never answer.
        """
        if not self._store_answers:
            return None
        try:
            return within(_PATIENCE, lambda: question(dist.distributed_c10d._get_default_store()))
        except (RuntimeError, TimeoutError):
            self._store_answers = False
            return None

    @contextmanager
    def raise_on_all(self) -> Iterator[None]:
        """Raise an error of one process in all processes, so that none waits for one that gave up.

        All processes must enter the block; they leave it at the same time. The block must not contain a collective.

        Raises:
            UserError: the block raised an error in some process; message and class are those of the first such process.
                An error that is no UserError is re-raised unchanged in the process where it occurred, and one that says
                that another process is lost is raised at once.
        """
        require_others()
        error = None
        try:
            yield
        except Exception as found:
            if lost_another(found):
                raise  # nobody is there to be told
            error = found
        if self._some(error is not None):
            self._tell(error)

    def _some(self, failed: bool) -> bool:
        """Whether some process has failed."""
        return any(self.all_reduce_max(failed))

    def _tell(self, error: Exception | None) -> None:
        """Raise the error of the first process that has one; see :meth:`raise_on_all`.

        Args:
            error: that of this process, if it has one.
        """
        kind = type(error) if isinstance(error, UserError) else UserError
        lines = self.gather(None if error is None else (kind, error_line(error, self.rank)))
        if error is not None and (self.world_size == 1 or not isinstance(error, UserError)):
            raise error
        first = next((line for line in lines if line is not None), None)
        if first is not None:
            kind, line = first
            told = kind(line)
            told.shared = self.world_size > 1
            raise told from error

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Let the processes share the work of :mod:`gantrain.utils.shared_work` in the block.

        All processes must enter the block, and build the same objects in the same order in it. They leave it at the
        same time. As in :meth:`all_work`, work may take as long as it takes. The block must not contain a collective.

        Raises:
            UserError: see :meth:`raise_on_all`.
        """
        place = launched_place()
        local = (0, 1) if place is None or self.world_size == 1 else (place.local_rank, place.local_world_size)
        require_others()
        error, told = None, False
        try:
            with sharing(Sharing(self.rank, self.world_size, *local, self._share)):
                yield
        except _Told as found:
            error, told = found.own, True
        except Exception as found:
            if lost_another(found):
                raise
            error = found
        if not told:
            if self.world_size > 1:
                self._arrive()
            told = self._some(error is not None)
        if told:
            self._tell(error)

    def _share(self, work: Callable[[], Value]) -> list[Value]:
        """What the work returns in each process. A process that has given up before takes part in the first lines."""
        error = None
        with self._beating():
            try:
                own = work()
            except Exception as found:
                error = found
        if self._some(error is not None):
            raise _Told(error)
        return self.gather(own)

    def _arrive(self) -> None:
        """Wait for the processes that still work."""
        while self._beat(False, self._place()):
            pass

    @contextmanager
    def all_work(self) -> Iterator[None]:
        """Let each process work in the block for as long as it takes, while those that are done wait for it.

        All processes must enter the block, and leave it at the same time; some may have nothing to do in it. A thread
        of each process tells the others that it lives. They wait in vain for at most ``run.timeout``, as everywhere: if
        a process was stopped, or its host is unreachable. The block must not contain a collective. Errors are those of
        :meth:`raise_on_all`.

        Raises:
            UserError: see :meth:`raise_on_all`.
        """
        with self.raise_on_all():
            if self.world_size == 1:
                yield
                return
            with self._beating():
                yield

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Give the others a sign of life every now and then, until all have come to the end of the block."""
        ended, errors, place = threading.Event(), list[Exception](), self._place()

        def beat() -> None:
            try:
                while self._beat(not ended.wait(_BEAT), place):
                    pass
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        abandoned = None
        try:
            yield
        finally:
            ended.set()
            while thread.is_alive():
                thread.join(_BEAT)
                try:
                    between_batches()
                except Abandoned as error:
                    # Those that still work find the same request, and give up as soon as they can.
                    abandoned = error
        if errors:
            raise errors[0]
        if abandoned is not None:
            raise abandoned

    def _beat(self, works: bool, place: torch.device) -> bool:
        """Whether some process works."""
        sign = torch.tensor([int(works)], device=place)
        dist.all_reduce(sign, dist.ReduceOp.MAX)  # by torch: Accelerate's reduce has no maximum before its 1.14
        return bool(sign.item())

    @staticmethod
    def _place() -> torch.device:
        """The device of small tensors that all processes exchange."""
        # gantrain's own groups have gloo for tensors on the CPU; a group that others made may have NCCL alone.
        nccl = dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def compare_with_first(self, find: Callable[[], Value], compare: Callable[[Value, Value], None]) -> None:
        """Let each process compare its own value with that of the first process.

        Args:
            find: returns this process' value.
            compare: is called with this process' value and that of the first process, and raises a UserError where
                they must not differ.

        Raises:
            UserError: ``find`` or ``compare`` raised it in some process; see :meth:`raise_on_all`.
        """
        with self.raise_on_all():
            here = find()
        first = self.broadcast_object(here)
        with self.raise_on_all():
            compare(here, first)

    def __deepcopy__(self, memo: dict[int, Any]) -> Processes:
        """The object itself: the copy of a network belongs to the same processes."""
        return self


def _begin_mean(
    flat: Tensor, group: dist.ProcessGroup | None, size: int, everyone: bool = True
) -> Callable[[], Tensor]:
    """Begin to divide the sum of a tensor over a group by ``size``; the function returned waits for the quotient.

    Args:
        flat: the tensor, which is changed.
        group: the group; None for all processes.
        size: the divisor.
        everyone: whether ``size`` is the number of processes in the group.
    """
    # By torch: Accelerate's reduce copies the tensor first, and the program waits for it. NCCL divides on the way; gloo
    # cannot.
    divides = flat.device.type != "cpu" and "nccl" in dist.get_backend() and everyone
    work = dist.all_reduce(flat, dist.ReduceOp.AVG if divides else dist.ReduceOp.SUM, group=group, async_op=True)

    def finish() -> Tensor:
        work.wait()
        return flat if divides else flat.div_(size)

    return finish


def _flat(tensors: list[Tensor]) -> Tensor:
    """All numbers of the tensors in one new vector, in their common dtype."""
    return torch.cat([t.reshape(-1) for t in tensors]) if tensors else torch.empty(0)


def _flat_like(tensors: list[Tensor]) -> Tensor:
    """A vector in the form of :func:`_flat`, whose numbers are still to come."""
    if not tensors:
        return torch.empty(0)
    dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
    return tensors[0].new_empty(sum(t.numel() for t in tensors), dtype=dtype)


def _parts(flat: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    """The numbers of a flat vector in the shapes, dtypes and strides of the tensors; fused optimizers rely on these."""
    parts = flat.split([t.numel() for t in tensors])
    return [_like(t, part.view(t.shape).to(t.dtype)) for part, t in zip(parts, tensors, strict=True)]


def _like(t: Tensor, values: Tensor) -> Tensor:
    return values if t.stride() == values.stride() else torch.empty_like(t).copy_(values)


def error_line(error: Exception, rank: int) -> str:
    """The error in one line, preceded by its process unless that is the first, which speaks for all."""
    what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return what if rank == 0 else f"process {rank} on {socket.gethostname()}: {what}"
