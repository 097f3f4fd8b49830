"""Several processes on this host, and whether as many run as were asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gantrain.errors import UserError

# Seconds that interrupted processes are given to write their checkpoint.
_GRACE = 120


def distributed() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return "WORLD_SIZE" in os.environ


@contextmanager
def before_joining() -> Iterator[None]:
    """What is wrong in one process before the processes join is said to the others, which would wait for it.

    Raises:
        UserError: what was wrong, as it is said by all.
    """
    try:
        yield
    except UserError:
        if not distributed():
            raise
        import torch

        from gantrain.distributed import joined
        from gantrain.processes import Processes

        with joined(not torch.cuda.is_available()), Processes.launched().together():
            raise


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``python -m gantrain`` in several processes on this host, as torchrun does, and wait for them.

    Ctrl-C and SIGTERM are passed on. What fails says so itself, unless it was killed; torch's own report is left out.

    Args:
        arguments: of the command line, without the program.
        processes: how many.

    Returns:
        The exit code: that of the process whose failure was the cause, 128 + the signal where one ended it, 0 if none
        failed.
    """
    import dataclasses
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    settings = {
        "min_nodes": 1,
        "max_nodes": 1,
        "nproc_per_node": processes,
        "run_id": uuid.uuid4().hex,
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "localhost:0",
        "max_restarts": 0,
        "logs_specs": DefaultLogsSpecs(log_dir=os.devnull),
        "shutdown_timeout": _GRACE,
    }
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    config = LaunchConfig(**{key: value for key, value in settings.items() if key in known})
    try:
        elastic_launch(config, sys.executable)("-m", "gantrain", *arguments)
    except ChildFailedError as error:
        rank, first = min(error.failures.items(), key=lambda item: _lateness(item[1].exitcode, item[1].timestamp))
        if first.exitcode >= 0:
            return first.exitcode
        name = signal.Signals(-first.exitcode).name
        print(f"gantrain: process {rank} was ended by {name}; go on with --resume", file=sys.stderr)
        return 128 - first.exitcode
    except SignalException as stop:
        return 128 + stop.sigval
    return 0


def _lateness(exitcode: int, timestamp: int) -> tuple[int, int]:
    """What came first is the cause: a signal from outside, then an error, then the end of those that are left."""
    if exitcode == -signal.SIGTERM:
        return 2, timestamp
    return int(exitcode >= 0), timestamp


def expected_processes(option: int | None, config: Any) -> int | None:
    """How many processes were asked for, or None where nobody said.

    Args:
        option: of the command line; it goes first.
        config: of the run, whose ``run.processes`` comes second; then the launcher's own number.
    """
    if option is not None:
        return option
    if config.run.processes is not None:
        return config.run.processes
    if distributed():
        return int(os.environ["WORLD_SIZE"])
    return _asked_of_accelerate()


def check_processes(expected: int | None, actual: int) -> None:
    """Refuse to go on with fewer or more processes than were asked for.

    Raises:
        UserError: the numbers differ.
    """
    if expected is not None and expected != actual:
        asked = "processes were" if expected > 1 else "process was"
        raise UserError(
            f"{expected} {asked} asked for, but {actual} run{'s' if actual == 1 else ''}; "
            f"start them with `gantrain train --processes {expected} CONFIG` or "
            f"`torchrun --nproc_per_node {expected} -m gantrain train CONFIG` "
            "(on CPUs, `accelerate launch` starts only one)"
        )


def check_gpus(local: int, gpus: int) -> None:
    """Refuse a process for which this host has no GPU of its own.

    Args:
        local: number of the process on this host, from 0.
        gpus: how many GPUs this host has.

    Raises:
        UserError: it has none left.
    """
    if local >= gpus:
        raise UserError(f"more processes than GPUs; start at most {gpus} on this host, or use run.device: cpu")


def _asked_of_accelerate() -> int | None:
    """``--num_processes`` of the ``accelerate launch`` above this process.

    On CPUs it starts one process, whatever the number, and tells that process nothing of it.
    """
    import psutil

    for parent in psutil.Process().parents():
        try:
            words = parent.cmdline()
        except psutil.Error:
            continue
        names = [os.path.basename(word) for word in words]
        if not ({"accelerate", "accelerate-launch", "accelerate.commands.launch"} & set(names[:3])):
            continue
        for word, after in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if option.replace("-", "_") == "__num_processes":
                value = value if equals else after
                return int(value) if value.isdecimal() else None
    return None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
