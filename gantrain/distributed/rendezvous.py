"""Joining the processes that a launcher started, and noticing when one of them ends."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from accelerate import PartialState

from gantrain.compute.device import prepare_cublas
from gantrain.config.sections import TIMEOUT
from gantrain.distributed.absence import PATIENCE, absent, explained, leave_error, unreachable
from gantrain.distributed.environment import LAUNCHER, Place, launched_place
from gantrain.distributed.processes import Processes, error_line
from gantrain.distributed.store import Meeting, shared_store
from gantrain.distributed.watch import Watch, abort, end_at_once
from gantrain.errors import UserError, lost_another
from gantrain.utils.waiting import within

# Also in runs on GPUs, tensors on CPUs are exchanged over gloo, which notices at once when a process has ended.
_BACKENDS = "cpu:gloo,cuda:nccl"
# Seconds in which gloo's threads let go of the tensors of the last exchange, for which they need the interpreter. A
# thread that waits for it when the program ends aborts the process. Networks that are divided keep such threads alive.
_LETTING_GO = 0.2


@contextmanager
def process_group(cpu: bool, timeout: float = TIMEOUT) -> Iterator[PartialState]:
    """Join the processes that a launcher started, or set up this process alone, for the duration of the block.

    The block gets Accelerate's state of this process, which says the process' device.

    Args:
        cpu: whether to use CPUs even if there are GPUs.
        timeout: the seconds that a process waits for the others, when it joins them and in each collective.

    Raises:
        UserError: another process did not join or answer in time, or it has ended, which shows in the next collective;
            the message is the other process' own if it left one.
    """
    place = launched_place()
    if not cpu:
        prepare_cublas()
    with nullcontext() if place is None else _communication(place, cpu, timeout), _state(cpu, place) as state:
        # Nobody may leave before all have come: the store may lie in the first process.
        Processes.launched(timeout).all_reduce_max(0)
        yield state


@contextmanager
def _state(cpu: bool, place: Place | None) -> Iterator[PartialState]:
    """Accelerate's state of this process, whose device is inside the block the one that the run wants.

    The state lives as long as the process, which may train one run on a GPU and the next on the CPU, and may have an
    Accelerator of the user's own.
    """
    with _environment_for_accelerate(place):
        # Without a GPU, Accelerate takes this process to be alone unless it is told to use CPUs.
        state = PartialState(cpu=cpu or not torch.cuda.is_available())
    before = state.device
    if cpu:
        state.device = torch.device("cpu")
    elif before.type == "cpu" and state.default_device.type != "cpu":
        local_rank = 0 if place is None else place.local_rank
        state.device = torch.device(state.default_device.type, local_rank % torch.accelerator.device_count())
        torch.accelerator.set_device_index(state.device)
    try:
        yield state
    finally:
        state.device = before


@contextmanager
def _communication(place: Place, cpu: bool, timeout: float) -> Iterator[None]:
    """The processes of a launch are joined in the block, and hear of an error that ends it in one of them.

    After an error nothing waits for the other processes, which might be stuck: communication is aborted.
    """
    store = _join(place, cpu, timeout)
    alone, in_order = place.world_size == 1, False
    watch = None

    def why(error: Exception) -> str:
        return explained(error, store, place, timeout if watch is None else watch.seconds)

    try:
        if not cpu and not alone:
            watch = Watch(timeout, why)
        yield
        in_order = True
    except SystemExit:
        in_order = True
        raise
    except Exception as error:
        if alone:
            raise
        aborted = None if watch is None or isinstance(error, UserError) else watch.error
        if aborted is not None or lost_another(error):
            # What the program meets when its communication is aborted says nothing.
            raise UserError(why(aborted or error)) from error
        leave_error(error_line(error, place.rank), store)
        in_order = isinstance(error, UserError) and error.shared
        raise
    finally:
        if watch is not None:
            watch.leave(in_order)
        if in_order or alone:
            if dist.is_initialized():
                dist.destroy_process_group()
            if not alone:
                time.sleep(_LETTING_GO)
        elif not abort():
            met = sys.exc_info()[1]
            end_at_once(error_line(met, place.rank) if isinstance(met, Exception) else "interrupted")


@contextmanager
def _environment_for_accelerate(place: Place | None) -> Iterator[None]:
    """Inside the block the environment has the launcher's checked variables, and no settings of Accelerate or MPI.

    ``accelerate launch`` hands settings on in the environment, and others may be left over there. The config decides
    what they would decide, and a wrong one would end the run.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(("ACCELERATE_", "FORK_LAUNCHED", "PMI_", "OMPI_", "MV2_", "MPI_")) or name in LAUNCHER:
            del os.environ[name]
    # Accelerate would choose another number of threads than torch has.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    os.environ.update({} if place is None else place.variables)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _join(place: Place, cpu: bool, timeout: float) -> dist.Store:
    """Join the processes that were launched, and return the part of their store that belongs to this group."""
    chosen, known = os.environ.get("GLOO_SOCKET_IFNAME", ""), psutil.net_if_addrs()
    unknown = next((name for name in chosen.split(",") if name and name not in known), None)
    if unknown is not None:
        raise UserError(
            f"GLOO_SOCKET_IFNAME={chosen}: this host has no network interface {unknown}; unset the variable, or choose "
            f"one of {', '.join(known)}"
        )
    interface = None if chosen else _interface(place.address)
    if interface is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    # Two processes connect when they first exchange something. gloo by itself connects each with each, in every group.
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    deadline = time.monotonic() + timeout
    try:
        # A store that has stopped does not answer, not even in the time that it is given.
        shared = within(timeout + PATIENCE, lambda: shared_store(place, timedelta(seconds=timeout)))
    except (RuntimeError, TimeoutError) as error:
        raise UserError(unreachable(place, error, timeout)) from error
    meeting = Meeting(shared, place)

    def meet() -> None:
        meeting.join(deadline)
        # By torch: Accelerate would make a store of its own, in which nobody says who has not come.
        dist.init_process_group(
            "gloo" if cpu else _BACKENDS,
            store=meeting.store,
            rank=place.rank,
            world_size=place.world_size,
            timeout=timedelta(seconds=timeout),
        )

    try:
        within(timeout + PATIENCE, meet)
    except (RuntimeError, TimeoutError) as error:
        said = absent(meeting.store, place, timeout) or explained(error, meeting.store, place, timeout)
        raise UserError(said) from error
    return meeting.store


def _interface(first: str) -> str | None:
    """The network interface over which this host reaches the host ``first``, or None if it cannot be found.

    By itself gloo takes the interface of this host's own name, which may be loopback or none at all.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(first, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return None
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if own in {a.address for a in addresses}), None)
