"""How long the parts of a run take on this machine: steps, callbacks and checkpoints, each tried out in a row."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from gantrain.config.clock import unit_and_amount
from gantrain.config.types import Interval
from gantrain.outer.cost import Cost, Highest, Pace, cost_of_a_step, period
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.train.callbacks.base import Callback
from gantrain.train.progress import Progress
from gantrain.train.trainer import Trainer
from gantrain.utils.abandon import Abandoned, abandonable
from gantrain.utils.io import make_folder

# The least number of seconds and of blocks of steps that are measured, and the seconds after which measuring ends.
_SECONDS, _BLOCKS, _LONGEST = 2.0, 3, 30.0
# The steps before those that are measured: in them memory is allocated and networks are compiled.
_WARM_UP = 2
# The most steps, and about the most seconds, of a block that is repeated.
_MOST_STEPS, _MOST_SECONDS = 100, 3.0
# A callback that took at most so many seconds is measured once more, when what it prepares is there; one that has
# taken more than the limit is abandoned between two batches.
_QUICK, _LIMIT = 5.0, 60.0
# What an interval of steps counts.
_STEPS = Pace(1.0, (1.0,))


@dataclass(frozen=True)
class Occasion:
    """Something that a run does at an interval.

    Attributes:
        name: what is done.
        every: the interval from one time to the next.
        seconds: the seconds that it takes; None if it took too long to be measured.
        more_at_first: the seconds that it takes more for the first time.
        pace: how much of what the interval counts the steps take.
        at_end: whether it is done at the last step, too, if it is not due there.
    """

    name: str
    every: Interval
    seconds: float | None
    more_at_first: float = 0.0
    pace: Pace | Highest = _STEPS
    at_end: bool = True

    def times(self, steps: int, after: int = 0) -> int:
        """How often a run does it from one step to its last."""
        if steps <= after:
            return 0
        _, amount = unit_and_amount(self.every)
        if self.pace.least >= amount:
            return steps - after
        done, before, last = (self.pace.used(step) // amount for step in (after, steps - 1, steps))
        return int(last - done) + (self.at_end and before == last)

    def total(self, steps: int, after: int = 0) -> float:
        """The seconds for all times; 0 where it was not measured."""
        times = self.times(steps, after)
        return 0.0 if self.seconds is None or not times else times * self.seconds + self.more_at_first


@dataclass(frozen=True)
class Measurement:
    """What a run costs.

    Attributes:
        ready: when the first steps had been taken, in seconds since 1970.
        seconds: the seconds of a training step with its part of the log: the median over blocks of equal steps.
        measured: the number of steps that were measured.
        gradients: the gradient evaluations in a step, by player, a mean over the measured steps.
        draws: the batches that are drawn in a step.
        steps: the number of steps after which the budget is used up.
        occasions: the callbacks, and the checkpoints.
    """

    ready: float
    seconds: float
    measured: int
    gradients: dict[str, float]
    draws: float
    steps: int
    occasions: tuple[Occasion, ...]


def measure(trainer: Trainer) -> Measurement:
    """Take steps of a run, run its callbacks, and write a checkpoint.

    All processes of the run call this together. The trainer writes into its folder, which is made. The learning rates
    stay at their first values, since a short run's schedules would end before the measurement does.

    Raises:
        UserError: a part of the run fails, as it would in training.
    """
    # Before the loop has a state, which would not fit the game on which the cost is found out.
    cost = cost_of_a_step(trainer.outer, trainer.learners)
    with closing(trainer.batches), trainer.computing(), _without_schedules(trainer):
        trainer.rehearse()
        if trainer.main:
            make_folder(trainer.folder)
        with (
            trainer.monitored(),
            Progress(enabled=False) as trainer.progress,
            CheckpointWriter() as trainer.writer,
        ):
            for _ in range(_WARM_UP):
                _step(trainer)
            _synchronise(trainer)
            ready = time.time()
            block = _block(trainer)
            before, draws, step = dict(trainer.evaluator.evaluations), trainer.evaluator.draws, trainer.step
            seconds = _pace(trainer, block)
            measured = trainer.step - step
            gradients = {name: (n - before[name]) / measured for name, n in trainer.evaluator.evaluations.items()}
            drawn = (trainer.evaluator.draws - draws) / measured
            most = max(gradients.values())
            cost = cost or Cost(Pace(most, (most,)), Pace(drawn, (drawn,)))
            occasions = [_callback(trainer, callback, cost) for callback in trainer.callbacks]
            occasions.append(_checkpoint(trainer, seconds, cost))
    steps = _steps(trainer, cost)
    return Measurement(ready, seconds, measured, gradients, drawn, steps, tuple(occasions))


@contextmanager
def _without_schedules(trainer: Trainer) -> Iterator[None]:
    schedulers, trainer.schedulers = trainer.schedulers, {}
    try:
        yield
    finally:
        trainer.schedulers = schedulers


def _step(trainer: Trainer) -> None:
    """Take a step, and write its row of the log where one is due."""
    every = trainer.log_settings.every
    trainer.train_step(observe=trainer.may_pass(every))
    if trainer.evaluator.observing and trainer.reached.passed(every, trainer.since):
        trainer.log(seconds=1.0, steps=1, draws=1)
        if trainer.main and trainer.unlogged is not None:
            trainer.monitor.scalars(trainer.step, trainer.unlogged)
        trainer.unlogged = None


def _block(trainer: Trainer) -> int:
    """The number of steps after which the same kinds of steps come again: of loops, oracles, penalties and the log."""
    begin, step, completed = time.perf_counter(), trainer.step, trainer.outer_steps
    while trainer.outer_steps == completed and trainer.step - step < _MOST_STEPS:
        _step(trainer)
    _synchronise(trainer)
    cycle = trainer.step - step
    pace = (time.perf_counter() - begin) / cycle
    lists = [value for value in vars(trainer.game).values() if isinstance(value, list | tuple)]
    lazy = [part.every for parts in lists for part in parts if isinstance(getattr(part, "every", None), int)]
    block = math.lcm(cycle, period(trainer.learners), *lazy)
    block = block if block <= _MOST_STEPS and block * pace <= _LONGEST else cycle
    unit, amount = unit_and_amount(trainer.log_settings.every)
    logged = math.lcm(block, max(1, round(amount * trainer.step / max(1, getattr(trainer.clock, unit)))))
    return int(trainer.processes.broadcast_object(logged if logged * pace <= _MOST_SECONDS else block))


def _pace(trainer: Trainer, block: int) -> float:
    """The seconds of a step: the median over blocks of steps."""
    blocks: list[float] = []
    begin = time.perf_counter()
    while True:
        start = time.perf_counter()
        for _ in range(block):
            _step(trainer)
        _synchronise(trainer)
        blocks.append((time.perf_counter() - start) / block)
        spent = time.perf_counter() - begin
        enough = len(blocks) >= _BLOCKS and spent >= _SECONDS
        if trainer.processes.broadcast_object(enough or spent >= _LONGEST):
            return statistics.median(blocks)


def _callback(trainer: Trainer, callback: Callback, cost: Cost) -> Occasion:
    """Run a callback, and once more if it was quick."""
    name = type(callback).__name__
    if sum(type(other) is type(callback) for other in trainer.callbacks) > 1 and callback.weights is not None:
        name += f"[{callback.weights}]"
    pace = _pace_on(callback.every, trainer, cost)
    deadline = time.perf_counter() + _LIMIT
    # Several processes would have to abandon it at the same batch.
    asked = (lambda: time.perf_counter() > deadline) if trainer.processes.world_size == 1 else (lambda: False)
    try:
        with abandonable(asked):
            first = _timed(trainer, partial(trainer.run_callback, callback))
    except Abandoned:
        return Occasion(name, callback.every, None, pace=pace, at_end=callback.at_end)
    if not trainer.processes.broadcast_object(first <= _QUICK):
        return Occasion(name, callback.every, first, pace=pace, at_end=callback.at_end)
    again = _timed(trainer, partial(trainer.run_callback, callback))
    return Occasion(name, callback.every, again, max(0.0, first - again), pace, callback.at_end)


def _checkpoint(trainer: Trainer, step: float, cost: Cost) -> Occasion:
    """Write a checkpoint. It takes what the steps wait for it: the copy, and the rest of a write that is not done yet.

    Args:
        trainer: the trainer.
        step: the seconds of a step.
        cost: what a step costs.
    """
    every = trainer.checkpoint_settings.every
    pace = _pace_on(every, trainer, cost)
    between = float(unit_and_amount(every)[1]) / pace.mean
    copy = _timed(trainer, trainer.save)
    written = copy + _timed(trainer, trainer.writer.wait)
    return Occasion("checkpoint", every, max(copy, written - between * step), pace=pace)


def _pace_on(every: Interval, trainer: Trainer, cost: Cost) -> Pace | Highest:
    """How much of what an interval counts the steps take."""
    size = trainer.batches.batch_size
    images = Pace(cost.draws.first * size, tuple(draws * size for draws in cost.draws.turn))
    return {"steps": _STEPS, "images": images, "gradients": cost.gradients}[unit_and_amount(every)[0]]


def _steps(trainer: Trainer, cost: Cost) -> int:
    """The number of steps that use up the budget; where that depends on the game, by what was measured."""
    run = trainer.settings
    limits = [] if run.steps is None else [run.steps]
    if run.gradients is not None:
        limits.append(cost.gradients.steps_within(run.gradients))
    if run.kimg is not None:
        limits.append(cost.draws.steps_within(run.kimg * 1000 / trainer.batches.batch_size))
    return min(limits)


def _timed(trainer: Trainer, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    _synchronise(trainer)
    return time.perf_counter() - begin


def _synchronise(trainer: Trainer) -> None:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
