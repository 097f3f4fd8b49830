"""Several processes on this host, and whether as many run as were asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gantrain.distributed.environment import cores, distributed
from gantrain.errors import UserError

# Seconds that interrupted processes are given to write their checkpoint.
_GRACE = 120


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

        from gantrain.distributed.processes import Processes
        from gantrain.distributed.rendezvous import joined

        with joined(not torch.cuda.is_available()), Processes.launched().raise_on_all():
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
