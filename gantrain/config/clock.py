"""The clock of a run, which counts steps, images and gradients, and intervals on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

from gantrain.config.types import Interval


@dataclass(frozen=True)
class Clock:
    """What a run has used so far.

    Attributes:
        steps: the number of training steps.
        images: the number of real samples that all processes together have drawn.
        gradients: the number of gradient evaluations of the player that is evaluated most often.
    """

    steps: int = 0
    images: int = 0
    gradients: int = 0

    def count(self, every: Interval) -> int:
        """The number of whole intervals that have passed since the beginning of the run."""
        if isinstance(every, int):
            return self.steps // every
        unit, amount = unit_and_amount(every)
        return int(getattr(self, unit) // amount)

    def passed(self, every: Interval, since: Clock) -> bool:
        """Whether a multiple of the interval lies after an earlier reading of the clock, and not after this one."""
        return self.count(every) > since.count(every)


def unit_and_amount(every: Interval) -> tuple[str, Fraction]:
    """The attribute of :class:`Clock` in which an interval is counted, and the exact length of the interval."""
    if isinstance(every, int):
        return "steps", Fraction(every)
    ((unit, number),) = every.items()
    return ("images", 1000 * _exact(number)) if unit == "kimg" else (unit, _exact(number))


def in_images(every: Interval | None) -> bool:
    """Whether an interval counts images."""
    return every is not None and unit_and_amount(every)[0] == "images"


def in_words(every: Interval) -> str:
    """An interval as lines for people write it: ``500 steps``, ``10 kimg``."""
    if isinstance(every, int):
        return f"{every} steps"
    ((unit, number),) = every.items()
    return f"{number:g} {unit}"


@functools.cache
def _exact(number: float) -> Fraction:
    # The number that was written: 0.07 kimg are 70 images, and 0.07 * 1000 is more than 70.
    return Fraction(repr(number))
