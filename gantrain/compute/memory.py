"""Running out of memory, reported in one line with advice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gantrain.errors import BEYOND_ANY_MEMORY, UserError, is_out_of_memory

_AMOUNT = re.compile(r"allocate (\d+(?:\.\d+)?) ?(bytes|[KMGTPE]i?B)", re.IGNORECASE)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def out_of_memory_message(error: BaseException) -> str:
    """A line such as ``out of memory on the GPU: 2.5 GiB more were asked for``, with as much as the error tells."""
    message = str(error)
    if BEYOND_ANY_MEMORY.search(message):
        return "out of memory: more was asked for than any machine has"
    on_gpu = isinstance(error, torch.OutOfMemoryError) or re.search("CUDA|CUBLAS|CUDNN", message) is not None
    place = " on the GPU" if on_gpu else " on the CPU" if "CPU" in message else ""
    amount = _AMOUNT.search(message)
    return f"out of memory{place}" + (f": {_readable(*amount.groups())} more were asked for" if amount else "")


@contextmanager
def out_of_memory(where: Callable[[], str], advice: Callable[[], str]) -> Iterator[None]:
    """Turn an error of the block that says that memory ran out into one line for the user.

    Args:
        where: returns what was being done; it is called when the error has occurred.
        advice: returns what needed the memory and what to try.

    Raises:
        UserError: memory ran out inside the block.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{where()}: {out_of_memory_message(error)}, {advice()}") from error


def training_advice(batch: int, parts: int, precision: str, processes: int, sharding: str = "none") -> str:
    """The size of a training run's batch, and the settings with which the run needs less memory.

    Args:
        batch: samples in a batch over all processes.
        parts: micro-batches into which each process cuts its share.
        precision: "fp32", "bf16" or "fp16".
        processes: the number of processes.
        sharding: "none" where each process holds all parameters.
    """
    share = max(1, batch // processes // parts)
    cut = f", {parts} micro-batches of them," if parts > 1 else ""
    smaller = f"data.batch_size={max(1, batch // 2)}, or data.accumulation={2 * parts} for the same batch, or "
    half = "" if precision != "fp32" else "run.precision=bf16, or "
    divided = "run.sharding=full, or " if sharding == "none" and processes > 1 else ""
    advice = f"{smaller if share > 1 else ''}{half}{divided}more processes"
    return f"with {share} samples per process{cut} in {precision}; try {advice}"


def _readable(number: str, unit: str) -> str:
    if unit != "bytes":
        return f"{number} {unit}"
    size, power = float(number), 0
    while size >= 1024 and power + 1 < len(_UNITS):
        size, power = size / 1024, power + 1
    return f"{size:.4g} {_UNITS[power]}"
