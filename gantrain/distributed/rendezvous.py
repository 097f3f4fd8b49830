"""Joining the processes that a launcher started, and noticing when one of them ends."""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import psutil
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from gantrain.distributed.environment import distributed
from gantrain.distributed.processes import error_line
from gantrain.errors import UserError

# The key, in the store that the processes share, of the message of the first process that failed.
_FIRST_ERROR = "error"
# Each group of this process has a part of the store of its own.
_groups = itertools.count()


@contextmanager
def process_group(cpu: bool) -> Iterator[Accelerator]:
    """Join the processes that a launcher started, or set up this process alone, for the duration of the block.

    Args:
        cpu: whether to use CPUs even if there are GPUs.

    Raises:
        UserError: another process has ended, which shows in the next collective; the message is the other process'
            own if it left one.
    """
    store = _connect(cpu) if distributed() else None
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # the config, not the launcher, chooses autocast
    many = accelerator.num_processes > 1
    try:
        yield accelerator
    except Exception as error:
        # gloo has no class of errors.
        if many and isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise UserError(_first_error(store) or _ended(error, accelerator.process_index)) from error
        if many and store is not None:
            with suppress(RuntimeError):
                store.compare_set(_FIRST_ERROR, "", error_line(error, accelerator.process_index))
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        # Accelerate's state outlives its Accelerator, and the next run in this process may want another device.
        AcceleratorState._reset_state(reset_partial_state=True)


def _connect(cpu: bool) -> dist.Store:
    """Join the processes that were launched, and return the key-value store that they share.

    Also in runs on GPUs, which use NCCL, tensors on CPUs are exchanged over gloo, since gloo notices at once when a
    process has ended.
    """
    interface = _interface(os.environ.get("MASTER_ADDR", ""))
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    store, rank, world = _rendezvous()
    # The prefix hides the entries of earlier groups.
    store = dist.PrefixStore(f"gantrain/{next(_groups)}", store)
    dist.init_process_group("gloo" if cpu else "cpu:gloo,cuda:nccl", store=store, rank=rank, world_size=world)
    return store


@cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """The store that the processes share, this process' rank and the world size; made once in a process."""
    return next(dist.rendezvous("env://"))


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


def _first_error(store: dist.Store | None) -> str | None:
    try:
        if store is not None and store.check([_FIRST_ERROR]):
            return store.get(_FIRST_ERROR).decode()
    except RuntimeError:
        pass  # the store ended with the first process
    return None


def _ended(error: RuntimeError, rank: int) -> str:
    reason = re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).partition("\n")[0]).partition(". ")[0]
    return f"process {rank} on {socket.gethostname()}: another process has ended ({reason}); go on with --resume"
