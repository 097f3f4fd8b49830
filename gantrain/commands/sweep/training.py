"""The training of a sweep's runs: what is left to do, what is told of each run, and what signals do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from gantrain.commands.sweep.outcome import Outcome, outcome_of
from gantrain.commands.sweep.planning import PlannedRun
from gantrain.commands.sweep.table import Table
from gantrain.commands.sweep.workers import Workers, require_open_files
from gantrain.distributed.environment import cores
from gantrain.train.interrupt import Interrupt


def train(
    planned: Sequence[PlannedRun],
    workers: int,
    say: Callable[[str], None],
    command_line: Callable[[], NoReturn],
    trust: bool = False,
    ended: Callable[[PlannedRun, Outcome], None] | None = None,
    retry_diverged: bool = False,
) -> int:
    """Train the runs that have neither finished nor diverged; each goes on where it was stopped.

    A row of a table is told for each run that ends, and ``sweep.csv`` beside the runs has all of them.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the runs, which write checkpoints and stop. SIGUSR1 is passed on to
    those that run, which write checkpoints and go on. A run that fails stops no other.

    Args:
        planned: the runs.
        workers: the number of runs that are trained at the same time.
        say: called with each line of the table, and of what is said about the whole.
        command_line: the command line, called in each process with its arguments in ``sys.argv``; a function of a
            module, since a process imports it by its name.
        trust: whether the runs are trained with ``--trust``.
        ended: called for each run that has ended, also for those that had ended before; not for runs that are stopped
            by a signal.
        retry_diverged: whether runs that diverged before are trained again, from their newest checkpoints.

    Returns:
        The exit code: 0 when all runs have finished or diverged, 1 when one failed, 128 + the signal that stopped the
        sweep.

    Raises:
        UserError: the system does not let so many runs be trained at a time.
    """
    left: list[PlannedRun] = []
    table = Table(planned)
    for run in planned:
        outcome = outcome_of(run)
        if outcome is None or outcome.state == "diverged" and retry_diverged:
            left.append(run)
            continue
        table.add(run, outcome)
        if ended is not None:
            ended(run, outcome)
    require_open_files(min(workers, len(left)))
    table.write()
    before = len(planned) - len(left)
    if before:
        say(f"{before} of {len(planned)} runs had ended before")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))

    def end(run: PlannedRun, outcome: Outcome) -> None:
        for line in table.add(run, outcome):
            say(line)
        table.write()
        if ended is not None:
            ended(run, outcome)

    received = _train(left, workers, command_line, trust, end) if left else 0
    for line in table.summary():
        say(line)
    if received:
        say("stopped; the same command goes on")
        return 128 + received
    return 1 if table.failed else 0


def _train(
    left: Sequence[PlannedRun],
    workers: int,
    command_line: Callable[[], NoReturn],
    trust: bool,
    end: Callable[[PlannedRun, Outcome], None],
) -> int:
    """Train runs, and call ``end`` for each that has ended; the signal that asked for a stop, or 0."""
    waiting = list(left)
    stopped = False
    with (
        TemporaryDirectory() as folder,
        # Their server is started before the signals are caught, for it takes over which of them are ignored.
        Workers(command_line, trust, Path(folder)) as training,
        Interrupt() as interrupt,
    ):
        while training.busy or waiting and not interrupt.received:
            while waiting and training.busy < workers and not interrupt.received:
                training.start(waiting.pop(0))
            for run, outcome in training.ended():
                if not stopped or outcome.state != "failed":
                    end(run, outcome)
            if interrupt.wanted:
                interrupt.wanted = False
                training.send(signal.SIGUSR1)
            if interrupt.received and not stopped:
                stopped = True
                training.send(signal.SIGTERM)
    return interrupt.received
