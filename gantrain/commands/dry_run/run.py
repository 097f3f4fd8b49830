"""A dry run: what ``gantrain train`` would do, and what it would cost, measured without leaving anything behind."""

from __future__ import annotations

import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import psutil
import torch

from gantrain.commands.dry_run.report import described
from gantrain.commands.network import offline
from gantrain.commands.train import joined, make_trainer
from gantrain.commands.trial import earlier_run, folder_of, without_metrics
from gantrain.compute.compile import temporary_cache
from gantrain.config.schema import Config
from gantrain.errors import Diverged, Notice, UserError
from gantrain.runs.checkpoint_files import found
from gantrain.train.measurement import measure
from gantrain.train.trainer import Trainer


def dry_run(
    config: Config, resume: bool = False, processes: int | None = None, trust: bool = False
) -> dict[str, Any] | None:
    """Build the run of a config as training does, take steps of it, and report what the whole run costs.

    Everything that the run writes goes into a temporary folder, which is deleted. Nothing is downloaded.

    Args:
        config: a validated training config.
        resume: whether the run goes on from its newest checkpoint; then the time that is left is reported.
        processes: the number of processes asked for on the command line.
        trust: as in :func:`gantrain.commands.train.train`.

    Returns:
        The report as plain data; None in all processes but the first.

    Raises:
        UserError: the run could not be trained, or something that it needs would have to be downloaded.
        Diverged: the run left the finite numbers in the steps that were tried.
    """
    bare = psutil.Process().memory_info().rss
    with ExitStack() as held:
        held.enter_context(_ended_by_signals())
        temporary = held.enter_context(tempfile.TemporaryDirectory(prefix="gantrain-dry-run-"))
        if config.run.compile:
            held.enter_context(temporary_cache())
        everyone, device = held.enter_context(joined(config, processes))
        elsewhere = config.model_copy(update={"run": config.run.model_copy(update={"folder": temporary})})
        left_out: list[str] = []
        earlier = None
        with everyone.raise_on_all():
            if everyone.rank == 0:
                earlier = earlier_run(config)
        begins = not (resume and found(folder_of(config)))
        with everyone.raise_on_all():
            trainer = _built(elsewhere, device, trust, left_out, begins)
        try:
            measured = measure(trainer)
        except Diverged as error:
            raise Diverged(f"the run would not last: {error}") from error
        return described(config, trainer, measured, earlier, bare, resume, left_out) if trainer.main else None


class _Ended(BaseException):
    """A signal has ended the dry run. It is no SystemExit, which would be taken for one of the user's own code."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process in an orderly way, which deletes the temporary folder."""

    def end(number: int, _frame: object) -> NoReturn:
        raise _Ended(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    changed = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    except _Ended as ended:
        sys.exit(ended.args[0])
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _built(config: Config, device: torch.device, trust: bool, left_out: list[str], begins: bool) -> Trainer:
    """The trainer; without the metrics of samples if their features would have to be downloaded."""
    with offline() as hosts, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "downloading ", Notice)  # it fails at once
        try:
            return make_trainer(config, device, trust=trust, begins=begins)
        except UserError as error:
            if not hosts:
                raise
            refused = error
        if "metrics" in config.game_callbacks:
            hosts.clear()
            try:
                trainer = make_trainer(without_metrics(config), device, trust=trust, begins=begins)
            except UserError as error:
                if not hosts:
                    raise
                refused = error
            else:
                left_out.append(f"evaluations, whose features are not here yet ({refused})")
                return trainer
    named = ", ".join(dict.fromkeys(hosts))
    raise UserError(f"{refused}; a dry run downloads nothing, gantrain train would ask {named}")
