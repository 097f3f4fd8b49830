"""Out of memory, said in a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gantrain.errors import UserError

# Of the CPU's allocator and of some of CUDA's there is no class of error.
_MESSAGE = re.compile(r"out of memory|(can't|cannot|Unable to) allocate|not enough memory|ALLOC_FAILED", re.IGNORECASE)
_AMOUNT = re.compile(r"allocate (\d+(?:\.\d+)?) ?(bytes|[KMGTPE]i?B)", re.IGNORECASE)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device or the host has no memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MESSAGE.search(str(error))))


def described(error: BaseException) -> str:
    """``out of memory on the GPU: 2.5 GiB more were asked for``, as far as the error tells."""
    message = str(error)
    place = " on the GPU" if re.search("CUDA|CUBLAS|CUDNN", message) else " on the CPU" if "CPU" in message else ""
    amount = _AMOUNT.search(message)
    return f"out of memory{place}" + (f": {_readable(*amount.groups())} more were asked for" if amount else "")


@contextmanager
def out_of_memory(where: Callable[[], str], advice: Callable[[], str]) -> Iterator[None]:
    """Around what may need more memory than there is.

    Args:
        where: what is being done, at the time of the error.
        advice: what needed the memory, and what to try.

    Raises:
        UserError: there is no memory left.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{where()}: {described(error)}, {advice()}") from error


def advice(batch: int, parts: int, precision: str, processes: int) -> str:
    """What a training run needed memory for, and how it would need less.

    Args:
        batch: samples in a batch over all processes.
        parts: micro-batches into which each process cuts its share.
        precision: "fp32", "bf16" or "fp16".
        processes: the number of processes.
    """
    share = max(1, batch // processes // parts)
    cut = f", {parts} micro-batches of them," if parts > 1 else ""
    smaller = f"data.batch_size={max(1, batch // 2)}, or data.accumulation={2 * parts} for the same batch, or "
    half = "" if precision != "fp32" else "run.precision=bf16, or "
    return (
        f"with {share} samples per process{cut} in {precision}; try {smaller if share > 1 else ''}{half}more processes"
    )


def _readable(number: str, unit: str) -> str:
    if unit != "bytes":
        return f"{number} {unit}"
    size, power = float(number), 0
    while size >= 1024 and power + 1 < len(_UNITS):
        size, power = size / 1024, power + 1
    return f"{size:.4g} {_UNITS[power]}"
