"""The loop over the steps of a run, and what lies between two steps: log, callbacks, checkpoints, signals, errors."""

from __future__ import annotations

import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gantrain.compute.pace import Pace
from gantrain.config.clock import Clock
from gantrain.config.sections import TENSORBOARD, Checkpoint, Log, Run
from gantrain.config.types import Interval
from gantrain.data.batch import Batches
from gantrain.distributed.processes import Processes
from gantrain.errors import Diverged, Hopeless, Misplaced, Notice, UserError, lost_another
from gantrain.gradients.evaluator import Evaluator
from gantrain.runs.about import About
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.runs.divergence import Divergence, record_divergence
from gantrain.runs.monitor import Monitor
from gantrain.runs.place import Place
from gantrain.runs.tracking import Trackers
from gantrain.train.budget import Budget
from gantrain.train.callbacks.base import Callback
from gantrain.train.description import described_error
from gantrain.train.interrupt import Interrupt
from gantrain.train.looking_back import draw_curves
from gantrain.train.nonfinite import require_finite_batches
from gantrain.train.progress import Progress
from gantrain.utils.abandon import abandonable


class Loop(ABC):
    """The loop over the steps of a run. What a step is, and how the run is saved and restored, a subclass says.

    After a step come, each where it is due, the row of the log, the callbacks and a checkpoint. A signal is obeyed
    between two batches of a callback, or after the step: what is then left to do at this step is part of the
    checkpoint, and is done before the next step. An error of a callback or of the log costs no training. Where the
    training leaves the finite numbers, the run may go back to its newest checkpoint.

    Args:
        run: the section ``run`` of the config.
        log: the section ``log``.
        checkpoints: the section ``checkpoint``.
        callbacks: the callbacks.
        processes: the processes that share each batch.

    Attributes:
        step: the number of training steps taken.
        rollbacks: the number of times that the run went back.
        trackers: what the rows of the log are sent to.
        pending: the names of the callbacks that are due at this step and have not been run yet.
        unlogged: the scalars of this step while they are not written yet, or None.
        distributions: the scores of this step by name, of which TensorBoard is given histograms together with the
            scalars.
        about: what TensorBoard shows of the run beside its rows.
        kept: the :meth:`stage` of the newest checkpoint.
        since: the clock before the last step, or at the newest checkpoint where the run went back to it.
        reached: the clock after the last step.
        place: the place of the run's folder in the first process while the run trains, or None.
        finite_draws: the number of draws up to which the training is known to have been finite.
        begun: the time at which starting the run began, in seconds since 1970, by default that at which this object was
            made; None once the first step is taken.
    """

    budget: Budget
    evaluator: Evaluator
    pace: Pace
    batches: Batches
    config: Mapping[str, Any]
    monitor: Monitor
    progress: Progress
    writer: CheckpointWriter

    def __init__(
        self, run: Run, log: Log, checkpoints: Checkpoint, callbacks: Sequence[Callback], processes: Processes
    ):
        self.settings = run
        self.log_settings = log
        self.checkpoint_settings = checkpoints
        self.callbacks = list(callbacks)
        self.folder = Path(run.folder) / run.name
        self.processes = processes
        self.main = processes.rank == 0
        self.step = 0
        self.rollbacks = 0
        self.pending: list[str] = []
        self.unlogged: dict[str, float] | None = None
        self.distributions: dict[str, list[float]] = {}
        self.about = About()
        self.kept = self.stage()
        self.since = self.reached = Clock()
        self.finite_draws = 0
        self.begun: float | None = time.time()
        self.trackers = Trackers(log.to, self.folder, self.main)
        self.place: Place | None = None
        self._named = _named(callbacks)
        self._rows: int | None = None

    @abstractmethod
    def train_step(self, observe: bool = False) -> None:
        """Take one step, and read :attr:`clock` into :attr:`reached`; what was there goes into :attr:`since`."""

    @abstractmethod
    def log(self, seconds: float, steps: int, draws: int) -> None:
        """Leave the scalars of the step that was just taken in :attr:`unlogged`.

        Args:
            seconds: the time since the last such scalars.
            steps: the number of training steps in that time.
            draws: the number of batches drawn in that time.
        """

    @abstractmethod
    def run_callback(self, callback: Callback) -> str:
        """Run a callback; why it takes the run to be hopeless, or an empty text."""

    @abstractmethod
    def save(self) -> None:
        """Have :attr:`writer` write a checkpoint, and take down the :meth:`stage` in :attr:`kept`."""

    @abstractmethod
    def restore(self) -> bool:
        """Load the newest whole checkpoint, and call :meth:`resumed`; whether there was one."""

    @abstractmethod
    def further(self) -> str:
        """A line that says how the finished run is trained further; empty if it cannot be."""

    @abstractmethod
    def resumption(self) -> str:
        """How the run goes on once it was stopped, for the end of a line."""

    @property
    def clock(self) -> Clock:
        """What the run has used so far."""
        return self.budget.clock(self.step)

    def done(self) -> float:
        """The share of the budget that is used up: 1 or more when the run is over."""
        return self.budget.share(self.clock)

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return self.done() >= 1.0

    def may_pass(self, every: Interval) -> bool:
        """Whether a multiple of an interval may come with the next step. All steps at which one comes are foreseen."""
        return self.budget.may_pass(every, self.step, self.reached)

    def take_steps(self, interrupt: Interrupt) -> None:
        """Take the steps of the run, and between them write logs, run callbacks and save checkpoints.

        Args:
            interrupt: of the processes of the run, which is entered for the time of the steps.
        """
        over = self.over
        with interrupt as self._interrupt, CheckpointWriter() as self.writer:
            try:
                if self.settings.on_nonfinite == "rollback" and self.step == 0:
                    self.save()
                while not self._trained():
                    pass
                self._settle()
            except Diverged as error:
                # Before the checkpoint, from which a run that was killed in between would go on.
                self._record(error)
                if isinstance(error, Hopeless):
                    self._save_once()
                    self._settle()
                    self._send()
                self._look_back()
                raise
        self._send()
        self._guarded("the log", self.monitor.finish)
        self._look_back()
        self.progress.close()
        already = "already " if over else ""
        self.progress.note(f"{already}finished at step {self.step}; the run is in {self.folder}")
        further = self.further()
        if further:
            self.progress.note(further)

    @contextmanager
    def monitored(self) -> Iterator[None]:
        """Keeps the log of the run open in the block."""
        self._reopen_monitor()
        try:
            yield
        finally:
            self.monitor.close()

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Sends the rows of the log to the trackers in the block, around which they are started and closed."""
        try:
            with self.processes.raise_on_all():
                if self.main:
                    self.trackers.start(self.config)
            yield
        finally:
            self.trackers.finish()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Lets the first process write into the run's folder in the block, if the folder is where it was.

        Raises:
            Misplaced: the folder was deleted, moved or replaced, be it during the block, whose error this explains.
        """
        if self.place is not None:
            self.place.require()
        try:
            yield
        except Exception:
            if self.place is not None:
                self.place.require()
            raise

    def stage(self) -> tuple[Any, ...]:
        """What makes a checkpoint of this run another one than the last."""
        return self.step, tuple(self.pending), self.unlogged is None, self.rollbacks

    def resumed(self, pending: Sequence[str], unlogged: dict[str, float] | None, rows: int | None) -> None:
        """Take over what a checkpoint's step has left undone; its counters are loaded already.

        Args:
            pending: the names of callbacks that were due and had not been run.
            unlogged: scalars that had not been written.
            rows: the number of rows in the log; None for all up to this step.
        """
        self.pending = [name for name in self._due() if name in pending]
        self.unlogged, self._rows = unlogged, rows
        self.kept = self.stage()
        self.finite_draws = self.evaluator.draws

    def _trained(self) -> bool:
        """Take the steps that are left; whether the run is over. False: it went back to an earlier step."""
        every = self.log_settings.every
        last = time.perf_counter(), self.step, self.evaluator.draws
        try:
            self._complete_step()
            while not self.over:
                began = time.time()
                self.train_step(observe=self.may_pass(every) or self.budget.may_end(self.step))
                self.pace.step()
                if self.begun is not None:
                    self._report_start(began)
                self.pending = self._due()
                if self.evaluator.observing and self._is_due(every):
                    self.pace.settle()
                    now = time.perf_counter(), self.step, self.evaluator.draws
                    self.log(now[0] - last[0], now[1] - last[1], now[2] - last[2])
                    last = now
                else:
                    self.progress.tick(self.step, self.done())
                self._complete_step()
            return True
        except Hopeless:
            raise
        except Diverged as error:
            self._roll_back(error)
            return False

    def _report_start(self, began: float) -> None:
        """Show how long the run took until its first step was taken, which began at a time."""
        assert self.begun is not None
        now = time.time()
        step = f", of which the step, which compiles, took {now - began:.1f} s" if self.settings.compile else ""
        self.progress.note(f"first step after {max(0.0, now - self.begun):.1f} s{step}")
        self.begun = None

    def _complete_step(self) -> None:
        """Do what is due after a step: the log, callbacks, a checkpoint; then stop if a signal has asked for it."""
        logged = self.reached.passed(self.log_settings.every, self.since)
        if self.unlogged is not None:
            self._guarded("the log", partial(self._write_row, self.unlogged))
            self.unlogged = None
            self._send()
        while True:
            # All processes enter the next checkpoint together, which raises the error of the last.
            self._interrupt.wanted |= self.writer.failed
            asked = self._run_pending() or self._interrupt.agreed(self.step, logged)
            due = not self.pending and self._is_due(self.checkpoint_settings.every)
            if asked or due:
                self._save_once()
            if asked:
                self._settle()
                self._send()
            if asked == "stop":
                self._look_back()
                self.progress.close()
                self.progress.note(f"stopped at step {self.step}; {self.resumption()}")
                sys.exit(128 + self._interrupt.received)
            if asked == "save":
                self.progress.note(f"step {self.step}: wrote a checkpoint because of a signal")
            if not self.pending:
                return

    def _write_row(self, values: Mapping[str, float]) -> None:
        """Write the scalars of this step. The histograms come before: no row is written twice if they fail."""
        for name, scores in self.distributions.items():
            self.monitor.histogram(f"score/distribution/{name}", self.step, scores)
        self.distributions = {}
        self.monitor.scalars(self.step, values)

    def _run_pending(self) -> Literal["stop", "save"] | None:
        """Run the callbacks that are due. What a signal asks for meanwhile comes first; the others are then left."""
        if self.pending:
            self.pace.settle()
            self._settle()  # they may read the run's folder
        while self.pending:
            name, hopeless = self.pending[0], ""
            try:
                with abandonable(self._interrupt.asked):
                    hopeless = self.run_callback(self._named[name])
            except (Diverged, Misplaced):
                raise
            except Exception as error:
                if lost_another(error):
                    raise
                asked = self._interrupt.agreed(self.step, now=True)
                if asked is not None:
                    return asked
                self._failed(name, error)
            self.pending = self.pending[1:]
            if hopeless:
                advice = "the run ends here as diverged, and its checkpoint is written"
                raise Hopeless(f"step {self.step}: {hopeless}: {advice}")
        return None

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        """Do some work in the first process. An error in it does not lose training."""
        try:
            with self.processes.raise_on_all():
                if self.main:
                    with self.in_place():
                        work()
        except Misplaced:
            raise
        except Exception as error:
            if lost_another(error):
                raise
            self._failed(what, error)

    def _send(self) -> None:
        """Send the rows that checkpoints hold to the trackers, if there are any."""
        if self.trackers.wanted:
            self._guarded("the log", self.trackers.send)

    def _look_back(self) -> None:
        """Draw the pictures of the whole run in the first process. An error in that is told and fails nothing."""
        works = {name: partial(callback.finish, self.folder) for name, callback in self._named.items()}
        if self.log_settings.curves:
            works["the curves"] = partial(draw_curves, self.folder)
        with self.processes.all_work():
            for name, work in works.items() if self.main else ():
                try:
                    with self.in_place():
                        work()
                except Misplaced:
                    raise
                except Exception as error:
                    warnings.warn(f"step {self.step}: {name}: {described_error(error)}", Notice, stacklevel=2)

    def _failed(self, what: str, error: Exception) -> None:
        """Deal with an error beside the training, as ``run.on_error`` says. All processes must call this together."""
        line = f"step {self.step}: {what}: {described_error(error)}"
        if self.settings.on_error == "stop":
            self._save_once()
            self._settle()
            raise UserError(
                f"{line}; the checkpoint of this step is written. Mend it and go on with --resume, or go on without it "
                "with run.on_error=warn"
            ) from error
        if self.main:
            warnings.warn(f"{line}; the run goes on, as run.on_error asks", Notice, stacklevel=2)

    def _roll_back(self, error: Diverged) -> None:
        """Go back to the newest checkpoint, and on with other samples.

        Raises:
            UserError: this is not wanted, or was done as often as it may be; or the data are not finite.
        """
        # Whoever ends first has a launcher end the others.
        self._settle()
        with self.processes.raise_on_all(), self.in_place():
            require_finite_batches(self.batches, range(self.finite_draws, self.evaluator.draws))
        if self.settings.on_nonfinite == "stop":
            raise error
        if self.rollbacks >= self.settings.rollbacks:
            raise Diverged(f"{error}; it went back {self.rollbacks} times (run.rollbacks)") from error
        step, draws, rollbacks = self.step, self.evaluator.draws, self.rollbacks + 1
        if not self.restore():
            raise error
        # A batch is a function of its draw: the samples that follow are those after the last that were drawn.
        self.evaluator.draws, self.rollbacks = draws, rollbacks
        self._guarded("the log", self._reopen_monitor)
        self.progress.note(
            f"{str(error).partition(';')[0]}: back from step {step} to {self.step}, and on with other samples "
            f"({rollbacks} of at most {self.settings.rollbacks} times)"
        )
        self._save_once()

    def _record(self, error: Diverged) -> None:
        """Write down that the run ends here. Where that fails, the error of the training is the one to tell."""
        # Whoever ends first has a launcher end the others.
        with suppress(UserError), self.processes.raise_on_all():
            if self.main:
                with self.in_place():
                    record_divergence(self.folder, Divergence(self.step, str(error)))

    def _due(self) -> list[str]:
        """The names of the callbacks that are due at this step."""
        return [
            name
            for name, callback in self._named.items()
            if self.reached.passed(callback.every, self.since) or (self.over and callback.at_end)
        ]

    def _is_due(self, every: Interval) -> bool:
        """Whether something is due at this step: a multiple of its interval came with the step, or the run is over."""
        return self.over or self.reached.passed(every, self.since)

    def _save_once(self) -> None:
        """Have a checkpoint written, unless the last one is the same."""
        if self.kept != self.stage():
            self.pace.settle()
            self.save()

    def _settle(self) -> None:
        """Wait in all processes until the last checkpoint is written.

        Raises:
            UserError: it could not be written.
            Misplaced: the folder of the run is not where it was.
        """
        with self.processes.raise_on_all():
            if self.main:
                with self.in_place():  # the folder may have been there still when the write failed
                    self.writer.wait()

    def _reopen_monitor(self) -> None:
        """Go on with the log after the present step: rows of later steps are dropped."""
        if hasattr(self, "monitor"):
            self.monitor.close()
        self.monitor = Monitor(
            self.folder,
            self.config,
            step=self.step,
            rows=self._rows,
            enabled=self.main,
            events=TENSORBOARD in self.log_settings.to,
            trackers=self.trackers,
            about=self.about,
            metrics=self._columns(),
        )

    def _columns(self) -> list[str]:
        """The scalars that TensorBoard's table of hyper-parameters shows: FID first, and the time last."""
        found = [name for callback in self.callbacks for name in callback.columns]
        found.sort(key=lambda name: not name.startswith(("fid", "frechet_distance")))
        losses = [f"loss/{player}" for player in self.evaluator.game.players]
        return list(dict.fromkeys([*(found or losses), "time"]))


def _named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """The callbacks by the names of their classes, in which a number tells those of one class apart."""
    named: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        same = sum(type(other).__name__ == name for other in named.values())
        named[f"{name} {same + 1}" if same else name] = callback
    return named
