"""The processes that train the runs of a sweep."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, NoReturn

from gantrain.commands.sweep.outcome import Outcome, outcome_of
from gantrain.commands.sweep.planning import PlannedRun
from gantrain.errors import UserError
from gantrain.utils.open_files import affordable
from gantrain.utils.parent import stop

# The files that the sweep opens for each run, and for other things.
_FILES_EACH, _FILES_SPARE = 3, 20
# Seconds between two looks at whether a signal has arrived.
_PAUSE = 0.2


class Workers:
    """The processes that train runs of a sweep.

    Args:
        command_line: the command line, which takes its arguments from ``sys.argv``.
        trust: whether the runs are trained with ``--trust``.
        temporary: a folder for the errors that the processes write.

    Attributes:
        running: the run, the process and the file of its errors, by what says that the process has ended.
    """

    def __init__(self, command_line: Callable[[], NoReturn], trust: bool, temporary: Path):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            [command_line.__module__, "gantrain.commands.train", "torch.utils.tensorboard"]
        )
        _start_forkserver(temporary)
        self._command_line = command_line
        self._trust = trust
        self._temporary = temporary
        self._started = 0
        self.running: dict[int, tuple[PlannedRun, BaseProcess, Path, float]] = {}

    def start(self, run: PlannedRun) -> None:
        """Start a run.

        Raises:
            UserError: the system lets no further process be started; the others have been stopped.
        """
        errors = self._temporary / f"{self._started}.txt"
        self._started += 1
        process: BaseProcess = self._context.Process(
            target=_train, args=(self._command_line, _arguments(run, self._trust), str(errors))
        )
        try:
            process.start()
        except OSError as error:
            for _, other, _, _ in self.running.values():
                other.terminate()
                other.join()
            raise UserError(
                f"--workers: {len(self.running) + 1} runs cannot be trained at a time ({error.strerror}); use fewer, "
                "or raise the limit (ulimit -n, ulimit -u)"
            ) from error
        self.running[process.sentinel] = run, process, errors, time.monotonic()

    def ended(self) -> Iterator[tuple[PlannedRun, Outcome]]:
        """Wait a moment, then the runs that have ended, and how."""
        ready = connection.wait(list(self.running), _PAUSE)
        for sentinel in [s for s in self.running if s in ready]:
            run, process, errors, began = self.running.pop(sentinel)
            process.join()
            code, seconds = process.exitcode or 0, time.monotonic() - began
            found = outcome_of(run) if code == 2 else None
            if found is not None and found.state == "diverged":
                yield run, replace(found, seconds=seconds)
            else:
                state: Literal["failed", "finished"] = "failed" if code else "finished"
                yield run, Outcome(state, _reason(code, errors) if code else "", seconds)

    def send(self, number: int) -> None:
        """Send a signal to the processes that run."""
        for _, process, _, _ in self.running.values():
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)


def require_open_files(together: int) -> None:
    """Refuse to train more runs at a time than the system's limit of open files admits."""
    admitted, limit = affordable(together, _FILES_EACH, _FILES_SPARE)
    if together > admitted:
        most = f"use --workers {admitted}, or " if admitted else ""
        raise UserError(
            f"--workers: {together} runs at a time need {_FILES_EACH * together + _FILES_SPARE} more open files, and "
            f"the system's limit is {limit} in all; {most}raise the limit (ulimit -n)"
        )


def _start_forkserver(folder: Path) -> None:
    """Start the server in a folder without modules, for it looks for modules in its working directory first.

    The runs that it forks have the path and the working directory of this process.
    """
    here = os.getcwd()
    os.chdir(folder)
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


def _arguments(run: PlannedRun, trust: bool) -> list[str]:
    processes = run.config.run.processes or 1
    options = ["--resume", *["--trust"] * trust, *(["--processes", str(processes)] if processes > 1 else [])]
    return ["train", *options, "--", *run.arguments]


def _train(command_line: Callable[[], NoReturn], arguments: list[str], errors: str) -> None:
    """Run ``gantrain ARGUMENTS`` in this process; its errors go into a file and its output nowhere."""
    # The process gets a group of its own: Ctrl-C in a terminal goes to a whole group, and the sweep passes it on too.
    os.setpgid(0, 0)
    for descriptor, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    threading.Thread(target=_stop_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    sys.argv = ["gantrain", *arguments]
    command_line()


def _stop_with(parent: BaseProcess) -> None:
    """Stop this run, which writes a checkpoint, when the process of the sweep has ended."""
    parent.join()
    stop()


def _reason(code: int, errors: Path) -> str:
    if code < 0:
        return f"ended by signal {-code}"
    lines = errors.read_text(encoding="utf-8", errors="replace").split("\n") if errors.exists() else []
    messages = [line for line in lines if line.strip()]
    return messages[-1].removeprefix("gantrain: ") if messages else f"exit code {code}"
