"""Tensors whose memory the processes of a host share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from gantrain.utils.shared_work import others

# The token at the end of the memory, by which a process knows that it has opened the right one.
_TOKEN = 16


def can_share() -> bool:
    """Whether the processes of this host share work, and the system has memory for them to share."""
    found = others()
    return found is not None and found.local_world_size > 1 and hasattr(os, "memfd_create")


def shared_tensor(shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
    """A tensor of zeros on the CPU whose memory is that of all processes of this host; all processes must call this.

    The memory has no name in the file system. It is given back when the last process that has the tensor ends, however
    it ends.

    Returns:
        The tensor; None in all processes where this process is alone on its host, works alone, or where the system of
        some process has no such memory, or too little of it.
    """
    found = others()
    if found is None:
        return None
    count = torch.Size(shape).numel()
    size = count * dtype.itemsize
    held, mapped = None, None
    try:
        if found.local_rank == 0 and can_share() and count:
            with suppress(OSError):
                held = _make(size)
        made = found.share(lambda: None if held is None else (os.getpid(), *held))
        place: tuple[int, int, bytes] | None = made[found.rank - found.local_rank]
        if place is not None:
            with suppress(OSError, RuntimeError):
                mapped = _open(place, size)
        # The memory must be open in all processes before the first of them closes its descriptor.
        everywhere = all(found.share(lambda: mapped is not None))
    finally:
        if held is not None:
            os.close(held[0])
    return mapped[:size].view(dtype).view(*shape) if everywhere and mapped is not None else None


def _make(size: int) -> tuple[int, bytes]:
    """The descriptor of new memory, and its token.

    Raises:
        OSError: there is not so much memory.
    """
    token = secrets.token_bytes(_TOKEN)
    descriptor = os.memfd_create("gantrain")
    try:
        os.posix_fallocate(descriptor, 0, size + _TOKEN)  # or writing into it might end the process
        os.pwrite(descriptor, token, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, token


def _open(place: tuple[int, int, bytes], size: int) -> Tensor | None:
    """The memory that a process has made, in bytes, by its number, the descriptor and the token; None if others are."""
    process, descriptor, token = place
    mapped = torch.from_file(f"/proc/{process}/fd/{descriptor}", shared=True, size=size + _TOKEN, dtype=torch.uint8)
    return mapped if bytes(mapped[size:].tolist()) == token else None
