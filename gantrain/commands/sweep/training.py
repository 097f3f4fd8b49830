"""The training of a sweep's runs: what is left to do, what is told of each run, and what signals do."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from gantrain.commands.sweep.outcome import Outcome, outcome_of
from gantrain.commands.sweep.planning import PlannedRun
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
) -> int:
    """Train the runs that have neither finished nor diverged; each goes on where it was stopped.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the runs, which write checkpoints and stop. SIGUSR1 is passed on to
    those that run, which write checkpoints and go on. A run that fails stops no other.

    Args:
        planned: the runs.
        workers: the number of runs that are trained at the same time.
        say: called with a line for each run that ends.
        command_line: the command line, called in each process with its arguments in ``sys.argv``; a function of a
            module, since a process imports it by its name.
        trust: whether the runs are trained with ``--trust``.
        ended: called for each run that has ended, also for those that had ended before; not for runs that are stopped
            by a signal.

    Returns:
        The exit code: 0 when all runs have finished or diverged, 1 when one failed, 128 + the signal that stopped the
        sweep.

    Raises:
        UserError: the system does not let so many runs be trained at a time.
    """
    waiting, before = [], 0
    for run in planned:
        outcome = outcome_of(run)
        if outcome is None:
            waiting.append(run)
            continue
        before += 1
        if ended is not None:
            ended(run, outcome)
    require_open_files(min(workers, len(waiting)))
    if before:
        say(f"{before} of {len(planned)} runs were finished before")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
    failures: dict[str, str] = {}
    count, stopped = before, False
    with tempfile.TemporaryDirectory() as temporary, Interrupt() as interrupt:
        training = Workers(command_line, trust, Path(temporary))
        while training.running or waiting and not interrupt.received:
            while waiting and len(training.running) < workers and not interrupt.received:
                training.start(waiting.pop(0))
            for run, outcome in training.ended():
                count += 1
                if outcome.state == "failed":
                    if stopped:
                        continue
                    failures[run.name] = outcome.reason
                say(f"{count}/{len(planned)} {run.name}: {': '.join(filter(None, [outcome.state, outcome.reason]))}")
                if ended is not None:
                    ended(run, outcome)
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
