"""The processes that train the runs of a sweep, each of them one run after the other."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection, forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

from gantrain.commands.sweep.outcome import Outcome, is_finished, outcome_of
from gantrain.commands.sweep.planning import PlannedRun
from gantrain.config.loading import resolved
from gantrain.config.sections import TENSORBOARD
from gantrain.config.targets import foreign_targets
from gantrain.errors import UserError
from gantrain.train.interrupt import ignore_requests
from gantrain.utils.kept import keep
from gantrain.utils.open_files import affordable
from gantrain.utils.parent import stop

# The files that the sweep opens for each worker, and for other things.
_FILES_EACH, _FILES_SPARE = 3, 20
# Seconds between two looks at whether a signal has arrived.
_PAUSE = 0.2
# Seconds that a worker which has nothing left to do may take to end.
_GRACE = 10.0


class Workers:
    """The processes that train runs of a sweep, inside the context.

    A worker trains one run after the other, each as ``gantrain train`` does, so that what is slow about the first is
    paid once. A run that may leave something behind in its process has a worker to itself, and none follows one that
    failed.

    Args:
        command_line: the command line, which takes its arguments from ``sys.argv``.
        trust: whether the runs are trained with ``--trust``.
        temporary: a folder for the errors that the processes write.
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
        self._busy: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._leaving: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._busy:  # after an error; Python waits for them at its end
            worker.process.terminate()
        for worker in self._idle:
            self._release(worker)
        for worker in self._leaving:
            worker.end()

    @property
    def busy(self) -> int:
        """The number of runs that are being trained."""
        return len(self._busy)

    def start(self, run: PlannedRun) -> None:
        """Start a run.

        Raises:
            UserError: the system lets no further process be started.
        """
        alone = _wants_a_process_of_its_own(run)
        if alone and self._idle:
            self._release(self._idle.pop())
        try:
            worker = self._idle.pop() if self._idle else _Worker(self._context, self._command_line)
        except OSError as error:
            raise UserError(
                f"--workers: {self.busy + 1} runs cannot be trained at a time ({error.strerror}); use fewer, or raise "
                "the limit (ulimit -n, ulimit -u)"
            ) from error
        self._started += 1
        worker.begin(run, alone, self._trust, self._temporary / f"{self._started}.txt")
        self._busy.append(worker)

    def ended(self) -> Iterator[tuple[PlannedRun, Outcome]]:
        """Wait a moment, then the runs that have ended, and how."""
        ready = connection.wait([worker.connection for worker in self._busy], _PAUSE)
        for worker in [worker for worker in self._busy if worker.connection in ready]:
            outcome = worker.outcome()
            self._busy.remove(worker)
            if worker.alone or outcome.state == "failed":
                self._release(worker)
            else:
                self._idle.append(worker)
            yield worker.run, outcome
        self._leaving = [worker for worker in self._leaving if worker.process.is_alive()]

    def send(self, number: int) -> None:
        """Send a signal to the processes that train."""
        for worker in self._busy:
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)

    def _release(self, worker: _Worker) -> None:
        """Let a worker end after its run."""
        worker.connection.close()
        self._leaving.append(worker)


class _Worker:
    """A process that trains runs, as the process of the sweep sees it.

    Attributes:
        run: the run that it trains, or has trained last.
        alone: whether it trains no other.
        connection: takes runs, and gives for each its exit code and seconds; its end says that the process has ended.
    """

    run: PlannedRun
    alone: bool

    def __init__(self, context: multiprocessing.context.ForkServerContext, command_line: Callable[[], NoReturn]):
        self.connection, theirs = context.Pipe()
        with theirs:
            self.process: BaseProcess = context.Process(target=_work, args=(theirs, command_line))
            try:
                self.process.start()
            except BaseException:
                self.connection.close()
                raise

    def begin(self, run: PlannedRun, alone: bool, trust: bool, errors: Path) -> None:
        self.run, self.alone, self._errors, self._began = run, alone, errors, time.monotonic()
        with suppress(OSError):  # it has ended, which shows when the outcome is asked for
            self.connection.send((_arguments(run, trust), str(errors)))

    def outcome(self) -> Outcome:
        """How its run ended."""
        try:
            code, seconds = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code, seconds = self.process.exitcode or 1, time.monotonic() - self._began
            if code < 0 and is_finished(self.run):
                code = 0
        if code == 0:
            return Outcome("finished", seconds=seconds)
        found = outcome_of(self.run)
        if found is not None and found.state == "diverged":
            return replace(found, seconds=seconds)
        return Outcome("failed", _reason(code, self._errors), seconds)

    def end(self) -> None:
        """Wait until the process has ended."""
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


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

    The workers that it forks have the path and the working directory of this process.
    """
    here = os.getcwd()
    os.chdir(folder)
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


def _wants_a_process_of_its_own(run: PlannedRun) -> bool:
    """Whether a run has several processes, or may leave something behind for the runs that follow in its process.

    Code of the user's own may, trackers do, and torch's compiler counts what it has compiled.
    """
    config = run.config
    own_code = foreign_targets(resolved(config))
    return bool((config.run.processes or 1) > 1 or config.run.compile or {*config.log.to} - {TENSORBOARD} or own_code)


def _arguments(run: PlannedRun, trust: bool) -> list[str]:
    processes = run.config.run.processes or 1
    options = ["--resume", *["--trust"] * trust, *(["--processes", str(processes)] if processes > 1 else [])]
    return ["train", *options, "--", *run.arguments]


def _work(runs: Connection, command_line: Callable[[], NoReturn]) -> None:
    """Run ``gantrain ARGUMENTS`` again and again; the errors of each go into a file, and their output nowhere."""
    ignore_requests()
    # The process gets a group of its own: Ctrl-C in a terminal goes to a whole group, and the sweep passes it on too.
    os.setpgid(0, 0)
    _redirect(1, os.devnull)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_stop_with, args=(parent,), daemon=True).start()
    with keep(), suppress(EOFError, OSError):
        while True:
            arguments, errors = runs.recv()
            _redirect(2, errors)
            began = time.monotonic()
            code = _exit_code(command_line, arguments)
            gc.collect()  # the networks of a run refer to themselves
            if not gc.get_freeze_count():
                gc.freeze()  # what has been imported stays, and need not be looked at after each run
            if "torch.cuda" in sys.modules and sys.modules["torch.cuda"].is_initialized():
                sys.modules["torch.cuda"].empty_cache()
            runs.send((code, time.monotonic() - began))


def _exit_code(command_line: Callable[[], NoReturn], arguments: list[str]) -> int:
    sys.argv = ["gantrain", *arguments]
    try:
        command_line()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1


def _redirect(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)


def _stop_with(parent: BaseProcess) -> None:
    """Stop the run, which writes a checkpoint, when the process of the sweep has ended."""
    parent.join()
    stop()


def _reason(code: int, errors: Path) -> str:
    if code < 0:
        return f"ended by signal {-code}"
    lines = errors.read_text(encoding="utf-8", errors="replace").split("\n") if errors.exists() else []
    messages = [line for line in lines if line.strip()]
    return messages[-1].removeprefix("gantrain: ") if messages else f"exit code {code}"
