"""Tools of the benchmarks: interleaved timing, and a line that describes the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch

# The clocks that the benchmarks offer: seconds of the processor's work, and those that pass.
CLOCKS: dict[str, Callable[[], float]] = {"processor": time.process_time, "wall": time.perf_counter}


def machine() -> str:
    """The processor, the number of threads and the versions, as a line for the head of a table."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{model}, {cores} cores, {torch.get_num_threads()} threads; {versions}"


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Measure the seconds of each call; the candidates take turns, so that a slow spell of the machine hits all.

    The order within a round is reversed every other round, since a call may warm the caches for the next one.

    Args:
        candidates: name -> the function that is measured.
        rounds: the number of measured calls of each candidate.
        warmup: the number of calls before them.
        clock: returns seconds; ``time.process_time`` leaves out the time for which the process waited for a processor.

    Returns:
        name -> the seconds of each call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warmup + rounds):
        names = list(candidates) if turn % 2 else list(candidates)[::-1]
        for name in names:
            start = clock()
            candidates[name]()
            if turn >= warmup:
                seconds[name].append(clock() - start)
    return seconds


def median_ratio(above: list[float], below: list[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(above) / statistics.median(below)
