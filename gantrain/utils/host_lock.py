"""One process of a host at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of this host into the block at a time, as far as blocks of the same folder are concerned.

    The system gives the folder free when the process ends, however it ends. Nothing is written into it. Where its file
    system knows no locks, all processes enter at once.

    Args:
        folder: the folder; where it is missing, the nearest one above it counts.
    """
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):
            there = next(each for each in (folder, *folder.parents) if each.is_dir())
            descriptor = os.open(there, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
