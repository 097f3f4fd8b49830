"""The sweep command: a run for each point of a grid of values and each seed, trained by several processes."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from gantrain.config import yaml_files
from gantrain.config.loading import load, resolved
from gantrain.config.schema import Config
from gantrain.config.sections import LONGEST_NAME
from gantrain.distributed.environment import cores
from gantrain.errors import Notice, UserError
from gantrain.runs.budget import share_done
from gantrain.runs.folder import is_run, require_startable
from gantrain.train.interrupt import Interrupt
from gantrain.utils.open_files import affordable
from gantrain.utils.parent import stop

# Keys that a sweep sets, and what the user is told instead.
_SWEEP_KEYS = {
    "run.name": "the runs are named by their values",
    "run.folder": "all runs lie in one folder",
    "run.seed": "use --seeds",
}
# The files that the sweep opens for each run, and for other things.
_FILES_EACH, _FILES_SPARE = 3, 20
# Seconds between two looks at whether a signal has arrived.
_PAUSE = 0.2


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        config: the validated config of the run.
        arguments: the arguments of ``gantrain train`` that give this config.
    """

    config: Config
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def folder(self) -> Path:
        return Path(self.config.run.folder) / self.name


def grid(config: str, overrides: Sequence[str], over: Sequence[str], seeds: int) -> list[PlannedRun]:
    """Plan the runs of all combinations of values with all seeds, in the folder ``run.folder/run.name`` of the config.

    Where that is the folder of a run, such as one of the same config, they lie beside it in ``NAME_sweep``.

    Args:
        config: the path of the YAML file.
        overrides: ``KEY=VALUE``, for all runs.
        over: ``KEY=VALUE,VALUE,...`` for each key that differs; the values are a list in YAML without its brackets.
        seeds: the number of seeds, which count up from ``run.seed``.

    Raises:
        UserError: an entry of ``over`` is malformed, or :func:`plan` refuses the runs.
    """
    values: dict[str, list[Any]] = {}
    for entry in over:
        key, alternatives = _alternatives(entry)
        if key in values:
            raise UserError(f"--over {key} is given twice; put all its values into one, as in {key}=A,B")
        values[key] = alternatives
    short = {key: _shortest(key, values) for key in values}
    points: dict[str, tuple[str, list[str]]] = {}
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = ",".join(f"{short[key]}={_word(value)}" for key, value in chosen.items())
        if name in points:
            raise UserError(f"--over: two runs would be called {name}; give each value once")
        points[name] = config, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in chosen.items())]
    first = load(*next(iter(points.values()))).run
    folder = Path(first.folder) / first.name
    if is_run(folder):
        run, folder = folder, folder.with_name(f"{folder.name}_sweep")
        warnings.warn(f"{run}: is a run, so the sweep's runs lie in {folder}", Notice, stacklevel=2)
    return plan(folder, points, range(first.seed, first.seed + seeds))


def plan(folder: Path, points: Mapping[str, tuple[str, Sequence[str]]], seeds: Iterable[int]) -> list[PlannedRun]:
    """Plan the runs of several configs with several seeds; nothing is written.

    The runs are ordered by seed, so that all points have a run with the first seed before any has one with the second.

    Args:
        folder: the folder in which the runs will lie.
        points: name -> path of a config, and overrides.
        seeds: the seeds of the runs.

    Raises:
        UserError: a config is wrong, or the folder holds a run of the same name that computes something else.
    """
    if is_run(folder):
        raise UserError(f"{folder}: is a run, and the sweep's runs would lie in it; choose another name")
    planned = []
    for seed, (name, (path, overrides)) in itertools.product(seeds, points.items()):
        full = ",".join(filter(None, [name, f"seed={seed}"]))
        if len(full.encode()) > LONGEST_NAME:
            raise UserError(f"{full}: too long for the name of a folder; sweep over fewer keys, or shorter values")
        place = [f"run.folder={json.dumps(str(folder))}", f"run.name={json.dumps(full)}", f"run.seed={seed}"]
        arguments = [path, *overrides, *place]
        planned.append(PlannedRun(load(path, arguments[1:]), tuple(arguments)))
    for run in planned:
        require_startable(run.folder, resolved(run.config), resume=True, overwrite=False)
    return planned


def is_finished(run: PlannedRun) -> bool:
    """Whether the budget of the run is used up at its newest checkpoint."""
    if not is_run(run.folder):
        return False
    from gantrain.runs import checkpoint

    try:
        newest = checkpoint.newest(run.folder)
        if newest is None:
            return False
        step, state = checkpoint.load(newest)
        return share_done(run.config.run, run.config.data.batch_size, step, state) >= 1.0
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        # The run itself says what is wrong with its checkpoint, when it is resumed.
        return False


def train(
    planned: Sequence[PlannedRun],
    workers: int,
    say: Callable[[str], None],
    command_line: Callable[[], NoReturn],
    trust: bool = False,
) -> int:
    """Train the runs that are not finished, each in a process of its own that goes on where the run was stopped.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the runs, which write checkpoints and stop. SIGUSR1 is passed on to
    those that run, which write checkpoints and go on. A run that fails stops no other.

    Args:
        planned: the runs.
        workers: the number of runs that are trained at the same time.
        say: called with a line for each run that ends.
        command_line: the command line, called in each process with its arguments in ``sys.argv``; a function of a
            module, since a process imports it by its name.
        trust: whether the runs are trained with ``--trust``.

    Returns:
        The exit code: 0 when all runs are finished, 1 when one failed, 128 + the signal that stopped the sweep.

    Raises:
        UserError: the system does not let so many runs be trained at a time.
    """
    waiting = [run for run in planned if not is_finished(run)]
    _require_open_files(min(workers, len(waiting)))
    ended = len(planned) - len(waiting)
    if ended:
        say(f"{ended} of {len(planned)} runs were finished before")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
    failures: dict[str, str] = {}
    stopped = False
    with tempfile.TemporaryDirectory() as temporary, Interrupt() as interrupt:
        training = _Training(command_line, trust, Path(temporary))
        while training.running or waiting and not interrupt.received:
            while waiting and len(training.running) < workers and not interrupt.received:
                training.start(waiting.pop(0))
            for run, failure in training.ended():
                ended += 1
                if failure is None:
                    say(f"{ended}/{len(planned)} {run.name}: finished")
                elif not stopped:
                    failures[run.name] = failure
                    say(f"{ended}/{len(planned)} {run.name}: failed: {failure}")
            if interrupt.wanted:
                interrupt.wanted = False
                training.send(signal.SIGUSR1)
            if interrupt.received and not stopped:
                stopped = True
                training.send(signal.SIGTERM)
    if failures:
        say(f"failed: {len(failures)} of {len(planned)} runs; the same command tries them again")
        for name, reason in failures.items():
            say(f"  {name}: {reason}")
    if interrupt.received:
        say("stopped; the same command goes on")
        return 128 + interrupt.received
    return 1 if failures else 0


class _Training:
    """The processes that train runs of a sweep.

    Args:
        command_line: the command line, as in :func:`train`.
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
        self.running: dict[int, tuple[PlannedRun, BaseProcess, Path]] = {}

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
            for _, other, _ in self.running.values():
                other.terminate()
                other.join()
            raise UserError(
                f"--workers: {len(self.running) + 1} runs cannot be trained at a time ({error.strerror}); use fewer, "
                "or raise the limit (ulimit -n, ulimit -u)"
            ) from error
        self.running[process.sentinel] = run, process, errors

    def ended(self) -> Iterator[tuple[PlannedRun, str | None]]:
        """Wait a moment, then the runs that have ended, each with the reason if it failed."""
        ready = connection.wait(list(self.running), _PAUSE)
        for sentinel in [s for s in self.running if s in ready]:
            run, process, errors = self.running.pop(sentinel)
            process.join()
            code = process.exitcode or 0
            yield run, _reason(code, errors) if code else None

    def send(self, number: int) -> None:
        """Send a signal to the processes that run."""
        for _, process, _ in self.running.values():
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)


def _require_open_files(together: int) -> None:
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


def _alternatives(entry: str) -> tuple[str, list[Any]]:
    key, equals, values = entry.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--over {entry!r}: expected KEY=VALUE,VALUE,..., as in outer=gda,extragradient")
    if key in _SWEEP_KEYS:
        raise UserError(f"--over {key}: a sweep sets it itself: {_SWEEP_KEYS[key]}")
    alternatives = yaml_files.parse(f"[{values}]", f"--over {key}")
    if not isinstance(alternatives, list) or not alternatives:
        raise UserError(f"--over {key}: expected one value or more, separated by commas")
    return key, alternatives


def _shortest(key: str, keys: Iterable[str]) -> str:
    """The shortest end of a dotted key with which no other of the keys ends."""
    words = key.split(".")
    for count in range(1, len(words)):
        short = words[-count:]
        if not any(other != key and other.split(".")[-count:] == short for other in keys):
            return ".".join(short)
    return key


def _word(value: Any) -> str:
    """A value as part of a folder's name: ``{name: rapp, inner_steps: 3}`` is ``rapp-inner_steps=3``."""
    if isinstance(value, dict):
        return "-".join(_word(v) if k in ("name", "target") else f"{k}={_word(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return re.sub(r"[^\w.+-]+", "_", value if isinstance(value, str) else json.dumps(value))


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
