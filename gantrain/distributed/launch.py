"""Starting several processes on this host."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from gantrain.distributed.environment import cores, distributed
from gantrain.errors import UserError
from gantrain.utils.open_files import affordable
from gantrain.utils.parent import stop, when_parent_ends

# Seconds in which interrupted processes may write their checkpoint before they are killed.
_GRACE = 120
# Seconds within which processes fail of the same cause; torch's launcher kills those that are left after 30 seconds.
_AFTERMATH = 20
# The variable with the number of the launcher's process: a process whose launcher was killed while it started would
# take another one for its parent.
_LAUNCHER = "GANTRAIN_LAUNCHER"
# The files that the launcher opens for each process, most of them connections, and for other things.
_FILES_EACH, _FILES_SPARE = 3, 40


@contextmanager
def before_joining() -> Iterator[None]:
    """Tell all processes of a UserError that one of them meets inside the block, before the processes have joined.

    Without this the other processes would wait for the one that gave up. A process that torchrun, or :func:`launch`,
    has started ends from now on within seconds when its launcher does.

    Raises:
        UserError: the error of the block; all processes raise it with the same message.
    """
    many = distributed()
    if many and "TORCHELASTIC_RUN_ID" in os.environ:
        # A launcher that was killed cannot stop its processes, which would write into the folder of a resumed run.
        launcher = os.environ.get(_LAUNCHER, "")
        when_parent_ends(stop, int(launcher) if launcher.isdecimal() else None)
    try:
        yield
    except UserError:
        if not many:
            raise
        import torch

        from gantrain.distributed.processes import Processes
        from gantrain.distributed.rendezvous import process_group

        with process_group(not torch.cuda.is_available()), Processes.launched().raise_on_all():
            raise


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``gantrain`` in several processes on this host, as torchrun does, and wait for them.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the processes and end them; a SIGHUP that is ignored stays so. SIGUSR1,
    which asks for a checkpoint, is passed on as well. A process that fails prints its own error; a process that was
    killed is reported in one line. The report of torch's launcher is left out.

    Args:
        arguments: the arguments of the command line, without the program.
        processes: the number of processes.

    Returns:
        The exit code of the process that failed first, 128 + the signal if a signal ended that process, or 0 if no
        process failed.

    Raises:
        UserError: the system does not let so many processes be started.
    """
    admitted, limit = affordable(processes, _FILES_EACH, _FILES_SPARE)
    if processes > admitted:
        most = f"use --processes {admitted}, or " if admitted > 1 else ""
        raise UserError(
            f"--processes: {processes} processes need {_FILES_EACH * processes + _FILES_SPARE} more open files, and "
            f"the system's limit is {limit} in all; {most}raise the limit (ulimit -n)"
        )
    import dataclasses
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    os.environ[_LAUNCHER] = str(os.getpid())
    hangup = signal.getsignal(signal.SIGHUP) if hasattr(signal, "SIGHUP") else signal.SIG_IGN
    settings: dict[str, Any] = {
        "min_nodes": 1,
        "max_nodes": 1,
        "nproc_per_node": processes,
        "run_id": uuid.uuid4().hex,
        "rdzv_backend": "c10d",
        "rdzv_endpoint": "localhost:0",
        "max_restarts": 0,
        "logs_specs": DefaultLogsSpecs(log_dir=os.devnull),
        "shutdown_timeout": _GRACE,
        "signals_to_handle": "SIGTERM,SIGINT,SIGQUIT",
    }
    # Not every version of torch that is supported knows all of these settings.
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    config = LaunchConfig(**{key: value for key, value in settings.items() if key in known})
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _pass_on)
    if hangup != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        elastic_launch(config, sys.executable)("-c", _command_line(), *arguments)
    except ChildFailedError as error:
        began = min(failure.timestamp for failure in error.failures.values())
        rank, first = min(error.failures.items(), key=lambda f: _lateness(f[1].exitcode, f[1].timestamp - began))
        if first.exitcode >= 0:
            return first.exitcode
        name = signal.Signals(-first.exitcode).name
        print(f"gantrain: process {rank} was ended by {name}; go on with --resume", file=sys.stderr)
        return 128 - first.exitcode
    except SignalException as stop:
        return 128 + stop.sigval
    except RendezvousError as error:
        why = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"--processes: {processes} processes cannot meet on this host: {why}") from error
    return 0


def started_by_gantrain() -> bool:
    """Whether :func:`launch` has started this process, and no other launcher."""
    return _LAUNCHER in os.environ


def _hang_up(number: int, _frame: object) -> None:
    """Let torch's launcher pass SIGHUP on and wait. A lost connection may send it twice: the second is ignored."""
    from torch.distributed.elastic.multiprocessing import SignalException

    signal.signal(number, signal.SIG_IGN)
    raise SignalException("the connection is lost", signal.Signals(number))


def _pass_on(number: int, _frame: object) -> None:
    """Pass a signal on to the processes that were started."""
    import psutil

    for process in psutil.Process().children():
        with suppress(psutil.Error):
            process.send_signal(number)


def _command_line() -> str:
    """The program of a child: the command line with the path of this process.

    ``python -m`` would look for modules in the working directory first, where a json.py may lie.
    """
    return f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = 'gantrain'; from gantrain.cli import main; main()"


def _lateness(exitcode: int, seconds: int) -> tuple[int, int]:
    """A sort key that puts the cause first: a signal from outside, then an error, then processes that were left.

    The launcher itself ends the processes that are left: by SIGTERM, and by SIGKILL those that do not answer.

    Args:
        exitcode: the exit code of a process; minus the signal if a signal ended it.
        seconds: the time from the first failure to that of the process.
    """
    if exitcode == -signal.SIGTERM or (exitcode == -signal.SIGKILL and seconds > _AFTERMATH):
        return 2, seconds
    return int(exitcode >= 0), seconds
