"""Joining the processes that a launcher started, and noticing when one of them ends."""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from gantrain.compute.device import prepare_cublas
from gantrain.config.sections import TIMEOUT
from gantrain.distributed.environment import LAUNCHER, Place, launched_place
from gantrain.distributed.processes import error_line
from gantrain.errors import UserError, lost_another
from gantrain.utils.waiting import within

# The key, in the store that the processes share, of the message of the first process that failed.
_FIRST_ERROR = "error"
# The keys under which each process writes that it has arrived, and that it gave up waiting.
_HERE, _GAVE_UP = "here", "gave up"
# Seconds that processes whose wait was in vain give each other to say so.
_PATIENCE = 3.0
# The number of missing processes that a message names.
_NAMED = 5
_CHANGE = "or wait longer with a larger run.timeout (eval: --timeout)"
# Each group of this process has a part of the store of its own.
_groups = itertools.count()
# The store by the process' place; there is one, since a process joins the same others each time.
_stores: dict[Place, dist.Store] = {}


@contextmanager
def process_group(cpu: bool, timeout: float = TIMEOUT) -> Iterator[Accelerator]:
    """Join the processes that a launcher started, or set up this process alone, for the duration of the block.

    Args:
        cpu: whether to use CPUs even if there are GPUs.
        timeout: the seconds that a process waits for the others, when it joins them and in each collective.

    Raises:
        UserError: another process did not join or answer in time, or it has ended, which shows in the next collective;
            the message is the other process' own if it left one.
    """
    place = launched_place()
    store = None
    if not cpu:
        prepare_cublas()
    try:
        if place is not None:
            store = _join(place, cpu, timeout)
        with _environment_for_accelerate(place):
            accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # the config, not the launcher, chooses autocast
        yield accelerator
    except Exception as error:
        if place is None or place.world_size == 1 or store is None:
            raise
        if lost_another(error):
            raise UserError(_explained(error, store, place, timeout)) from error
        with suppress(RuntimeError):
            store.compare_set(_FIRST_ERROR, "", error_line(error, place.rank))
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        # Accelerate's state outlives its Accelerator, and the next run in this process may want another device.
        AcceleratorState._reset_state(reset_partial_state=True)


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
    """Join the processes that were launched, and return the key-value store that they share.

    Also in runs on GPUs, which use NCCL, tensors on CPUs are exchanged over gloo, since gloo notices at once when a
    process has ended.
    """
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
    deadline = time.monotonic() + timeout

    def left() -> timedelta:
        return timedelta(seconds=max(0.1, deadline - time.monotonic()))

    try:
        # A store that has stopped does not answer, not even in the time that it is given.
        shared = within(timeout + _PATIENCE, lambda: _shared_store(place, left()))
    except (RuntimeError, TimeoutError) as error:
        raise UserError(_unreachable(place, error, timeout)) from error
    # The prefix hides the entries of earlier groups.
    store = dist.PrefixStore(f"gantrain/{next(_groups)}", shared)
    limit = timedelta(seconds=timeout)

    def meet() -> None:
        store.set(f"{_HERE}/{place.rank}", socket.gethostname())
        store.wait([f"{_HERE}/{rank}" for rank in range(place.world_size)], left())
        backend = "gloo" if cpu else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world_size, timeout=limit)

    try:
        within(timeout + _PATIENCE, meet)
    except (RuntimeError, TimeoutError) as error:
        raise UserError(_absent(store, place, timeout) or _explained(error, store, place, timeout)) from error
    return store


def _shared_store(place: Place, timeout: timedelta) -> dist.Store:
    """The store of the launcher, or of the first process; made once in a process."""
    if place not in _stores:
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun
        _stores[place] = dist.TCPStore(
            place.address,
            place.port,
            place.world_size,
            is_master=place.rank == 0 and not hosted,
            timeout=timeout,
            wait_for_workers=False,
            multi_tenant=True,
        )
    return _stores[place]


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


def _first_error(store: dist.Store) -> str | None:
    with suppress(RuntimeError):  # the store ended with the first process
        if store.check([_FIRST_ERROR]):
            return store.get(_FIRST_ERROR).decode()
    return None


def _unreachable(place: Place, error: Exception, timeout: float) -> str:
    """Why there is no store at the launcher's address."""
    where = f"MASTER_ADDR={place.address} MASTER_PORT={place.port}"
    if "EADDRINUSE" in str(error):
        return f"{where}: another program on this host uses the port; choose another MASTER_PORT for all processes"
    if "failed to listen" in str(error):
        return f"{where}: this host may not listen at the port; choose another MASTER_PORT for all processes"
    try:
        socket.getaddrinfo(place.address, place.port)
    except (OSError, UnicodeError):
        return f"{where}: no host of this name was found within {timeout:g} s; name the host of the first process"
    return (
        f"{where}: process {place.rank} found no first process there within {timeout:g} s; start that with RANK=0, "
        f"{_CHANGE}"
    )


def _absent(store: dist.Store, place: Place, timeout: float) -> str | None:
    """Which processes have not arrived in the store; None if all have, or if the store does not answer."""

    def find() -> str | None:
        missing = _without(store, _HERE, place)
        if not missing:
            return None
        return (
            f"{place.world_size - len(missing)} of {place.world_size} processes met at {place.address}:{place.port} "
            f"within {timeout:g} s; {_named(missing, store)} did not come; start WORLD_SIZE={place.world_size} "
            f"processes, {_CHANGE}"
        )

    try:
        return within(_PATIENCE, find)
    except (RuntimeError, TimeoutError):
        return None


def _explained(error: Exception, store: dist.Store, place: Place, timeout: float) -> str:
    """Why a wait for other processes was in vain: the error that one has left, or who did not answer or has ended."""
    late = isinstance(error, TimeoutError) or re.search(r"tim(ed|e)?[- ]?out", str(error), re.IGNORECASE)

    def find() -> str | None:
        left = _first_error(store)
        if left is not None or not late:
            return left
        # Those that live give up at about the same time.
        store.set(f"{_GAVE_UP}/{place.rank}", "")
        deadline = time.monotonic() + _PATIENCE
        while (missing := _without(store, _GAVE_UP, place)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return silent(_named(missing, store) if missing else "another process")

    def silent(who: str) -> str:
        return f"{here}: {who} did not answer for {timeout:g} s; go on with --resume, {_CHANGE}"

    here = f"process {place.rank} on {socket.gethostname()}"
    ended = f"{here}: another process has ended ({_gist(error)}); go on with --resume"
    try:
        return within(2 * _PATIENCE, find) or ended
    except (RuntimeError, TimeoutError):
        # The first process, which has the store, ended or stopped.
        return silent("process 0") if late else ended


def _without(store: dist.Store, key: str, place: Place) -> list[int]:
    """The processes that have not written the key."""
    return [rank for rank in range(place.world_size) if not store.check([f"{key}/{rank}"])]


def _named(ranks: list[int], store: dist.Store) -> str:
    names = []
    for rank in ranks[:_NAMED]:
        known = store.check([f"{_HERE}/{rank}"])
        names.append(f"process {rank}" + (f" on {store.get(f'{_HERE}/{rank}').decode()}" if known else ""))
    return ", ".join(names) + (f" and {len(ranks) - _NAMED} more" if len(ranks) > _NAMED else "")


def _gist(error: Exception) -> str:
    return re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).partition("\n")[0]).partition(". ")[0]
