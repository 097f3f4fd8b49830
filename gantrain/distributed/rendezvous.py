"""Many processes: one collective for each evaluation of the operator, on unwrapped modules."""

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
from gantrain.distributed.processes import signed
from gantrain.errors import UserError

# In the store that the processes share: what the first one to fail says.
_LAST_WORDS = "error"
_groups = itertools.count()


@contextmanager
def joined(cpu: bool) -> Iterator[Accelerator]:
    """The processes that a launcher started, or this one alone, together for as long as the block lasts.

    Args:
        cpu: whether GPUs are left alone.

    Raises:
        UserError: another process has ended, which shows in the next collective; what it said, if it said anything.
    """
    store = _connect(cpu) if distributed() else None
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # autocast is ours, whatever the launcher says
    many = accelerator.num_processes > 1
    try:
        yield accelerator
    except Exception as error:
        # Of gloo's errors there is no class.
        if many and isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise UserError(_last_words(store) or _ended(error, accelerator.process_index)) from error
        if many and store is not None:
            with suppress(RuntimeError):
                store.compare_set(_LAST_WORDS, "", signed(error, accelerator.process_index))
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        # Accelerate's state outlives its Accelerator, and the next run may want another device.
        AcceleratorState._reset_state(reset_partial_state=True)


def _connect(cpu: bool) -> dist.Store:
    """Join the processes that were launched, and return what they share.

    Tensors on CPUs are exchanged over gloo where those on GPUs go over NCCL, too: gloo notices at once when a process
    has ended.
    """
    interface = _interface(os.environ.get("MASTER_ADDR", ""))
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    store, rank, world = _rendezvous()
    # What an earlier group has left in the store is not for this one.
    store = dist.PrefixStore(f"gantrain/{next(_groups)}", store)
    dist.init_process_group("gloo" if cpu else "cpu:gloo,cuda:nccl", store=store, rank=rank, world_size=world)
    return store


@cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """What the processes share, this one's number, and how many they are. It lasts as long as the process."""
    return next(dist.rendezvous("env://"))


def _interface(first: str) -> str | None:
    """The network interface over which this host reaches the first one, or None.

    Gloo would take the one that the name of this host stands for, which may be loopback, or none at all.
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


def _last_words(store: dist.Store | None) -> str | None:
    try:
        if store is not None and store.check([_LAST_WORDS]):
            return store.get(_LAST_WORDS).decode()
    except RuntimeError:
        pass  # The store has ended with the first process.
    return None


def _ended(error: RuntimeError, rank: int) -> str:
    reason = re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).partition("\n")[0]).partition(". ")[0]
    return f"process {rank} on {socket.gethostname()}: another process has ended ({reason}); go on with --resume"
