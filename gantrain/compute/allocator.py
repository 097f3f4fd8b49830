"""The memory that torch frees on a CPU and takes again a moment later."""

from __future__ import annotations

import ctypes
import os

# The parameters of glibc's mallopt, and the largest threshold that it takes for blocks of their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 32 << 20
_SMALL = 1 << 20
_OTHERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory(keep: bool = True) -> bool:
    """Let this process keep the memory that it frees, in blocks of up to 32 MiB, for what it allocates next.

    By itself glibc gives such memory back to the system, which hands it out again page by page, in each pass through a
    network. Settings in the environment go before.

    Args:
        keep: false lets the process give back every block of 1 MiB or more at once, which is slower, and for runs that
            could not hold what they keep.

    Returns:
        Whether that is so now; without glibc, and with settings in the environment, all stays as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name in os.environ for name in _OTHERS):
        return False
    trim, threshold = (2**31 - 1, _LARGEST) if keep else (_SMALL, _SMALL)
    return bool(mallopt(_MMAP_THRESHOLD, threshold)) and bool(mallopt(_TRIM_THRESHOLD, trim))
