"""The budget of a run: what is used of it, and what the next step will use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gantrain.config.clock import Clock
from gantrain.config.sections import Run
from gantrain.config.types import Interval
from gantrain.config.user_code import is_users
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.base import Outer
from gantrain.outer.cost import Cost, cost_of_a_step
from gantrain.outer.learner import Learner


class Budget:
    """The clock of a run, and its budget.

    Args:
        run: the section ``run`` of the config, which names the budget.
        evaluator: what counts the batches that are drawn and the gradients that are evaluated.
        batch_size: the number of samples in a batch, in all processes together.
        cost: what each step costs, or None if that is not known before the step.
    """

    def __init__(self, run: Run, evaluator: Evaluator, batch_size: int, cost: Cost | None):
        self.run = run
        self.evaluator = evaluator
        self.batch_size = batch_size
        self.cost = cost

    @property
    def images(self) -> int:
        """The number of real samples drawn so far, in all processes together."""
        return self.evaluator.draws * self.batch_size

    def clock(self, step: int) -> Clock:
        """What has been used after so many steps, which is now."""
        return Clock(step, self.images, max(self.evaluator.evaluations.values()))

    def share(self, clock: Clock) -> float:
        """The share of the budget that a reading of the clock uses up: 1 or more when the run is over."""
        return self.run.used(clock.steps, clock.gradients, clock.images / 1000)

    def following(self, step: int) -> Clock | None:
        """What will have been used after the next step, so many steps having been taken; None if that is not known."""
        if self.cost is None:
            return None
        clock = self.clock(step)
        images = clock.images + int(self.cost.draws.of(step)) * self.batch_size
        return Clock(step + 1, images, clock.gradients + int(self.cost.gradients.of(step)))

    def may_pass(self, every: Interval, step: int, reached: Clock) -> bool:
        """Whether a multiple of an interval may come with the next step. All steps at which one comes are foreseen.

        Args:
            every: the interval.
            step: the number of steps taken.
            reached: the clock after the last of them.
        """
        if isinstance(every, int):
            return (step + 1) % every == 0
        following = self.following(step)
        return following is None or following.passed(every, reached)

    def may_end(self, step: int) -> bool:
        """Whether the step after so many is the first, or will use up the budget.

        A step whose cost is not known is taken to cost as much as the mean of the steps before.
        """
        following = self.following(step)
        if step and following is not None:
            return self.share(following) >= 1
        return step == 0 or self.share(self.clock(step)) * (1 + 1 / step) > 1 - 1e-9


def foreseen_cost(outer: Outer, learners: Sequence[Learner]) -> Cost | None:
    """What a step costs, where all parts that take gradients are gantrain's own; else None."""
    parts = (*_nested(outer), *(learner.oracle for learner in learners))
    return None if any(map(is_users, parts)) else cost_of_a_step(outer, learners)


def steps_within(run: Run, outer: Outer, learners: Sequence[Learner], batch_size: int) -> int:
    """The number of steps that a budget allows, as far as it is known before the run; 1 where it is not."""
    limits = [] if run.steps is None else [run.steps]
    # Which takes steps of a tiny game, and a budget of steps needs none.
    cost = cost_of_a_step(outer, learners) if run.gradients is not None or run.kimg is not None else None
    if run.gradients is not None and cost is not None:
        limits.append(cost.gradients.steps_within(run.gradients))
    if run.kimg is not None and cost is not None:
        limits.append(cost.draws.steps_within(run.kimg * 1000 / batch_size))
    return min(limits, default=1)


def _nested(outer: Outer | None) -> Iterator[Outer]:
    """An outer loop and the loops around which it goes."""
    while isinstance(outer, Outer):
        yield outer
        outer = getattr(outer, "base", None)
