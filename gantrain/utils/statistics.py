"""Means, differences and shares over runs, with their errors and intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from gantrain.errors import UserError
from gantrain.utils.direction import Direction


@dataclass(frozen=True)
class Estimate:
    """A mean over runs with different seeds.

    Attributes:
        mean: the mean over the runs; NaN without runs.
        error: the standard error of the mean, ``s / sqrt(n)`` with the sample's standard deviation ``s``; NaN for one
            run.
        count: n, the number of runs.
    """

    mean: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from finite values; their number may be 0."""
        mean = statistics.fmean(values) if values else math.nan
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(mean, error, len(values))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the mean by Student's t with n - 1 degrees of freedom; NaN for one run."""
        return _interval(self.mean, self.error, self.count - 1, confidence)

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if math.isnan(self.error) else f" ± {self.error:.2g}")


@dataclass(frozen=True)
class Difference:
    """The difference of the means of two groups of runs.

    Attributes:
        mean: the mean of the one group minus that of the other; of pairs, the mean of their differences.
        error: the standard error of ``mean``; NaN where runs are too few for it.
        degrees: the degrees of freedom of Student's t.
        counts: the numbers of runs of the two groups from which it was computed.
        paired: whether each run of the one group was compared with the run of the other that has the same seed.
    """

    mean: float
    error: float
    degrees: float
    counts: tuple[int, int]
    paired: bool

    @property
    def p(self) -> float:
        """The two-sided p value: how probable a difference as large as this one is if there is none.

        It is NaN if the error is. If the error is 0, it is 1 for a difference of 0 and else 0.
        """
        if self.error == 0:
            return float(self.mean == 0)
        return float(2 * special.stdtr(self.degrees, -abs(self.mean / self.error)))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the difference by Student's t; NaN if the error is."""
        return _interval(self.mean, self.error, self.degrees, confidence)


@dataclass(frozen=True)
class Share:
    """A share of runs.

    Attributes:
        count: the number of runs that are counted.
        total: the number of all runs.
    """

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1; NaN without runs."""
        return self.count / self.total if self.total else math.nan

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's score interval of the share; from 0 to 1 without runs."""
        if not self.total:
            return 0.0, 1.0
        z = float(special.ndtri((1 + _checked(confidence)) / 2))
        n, share = self.total, self.value
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        # At the ends the formula gives 0 and 1 but for rounding.
        return (0.0 if self.count == 0 else middle - half), (1.0 if self.count == n else middle + half)

    def __str__(self) -> str:
        return f"{self.count} of {self.total}"


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """The mean of ``one - other`` over the seeds that both have, tested by the paired t test.

    Args:
        one: the finite values of a group of runs by their seeds.
        other: those of another group.

    Raises:
        UserError: no seed is common to both, or a value of a common seed is not finite.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        raise UserError("paired: the two groups have no seed in common; compare them by welch")
    difference = Estimate.of(_finite([one[seed] - other[seed] for seed in seeds], "paired"))
    return Difference(difference.mean, difference.error, len(seeds) - 1, (len(seeds), len(seeds)), True)


def welch(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The difference of the means of two groups that share no seeds, tested by Welch's t test.

    Args:
        one: the finite values of a group of runs.
        other: those of another group.

    Raises:
        UserError: a group has no values, or one of them is not finite.
    """
    if not one or not other:
        raise UserError("welch: expected at least one value in each of the two groups")
    a, b = (Estimate.of(_finite(values, "welch")) for values in (one, other))
    error = math.sqrt(a.error**2 + b.error**2)
    degrees: float = a.count + b.count - 2
    if error > 0:
        degrees = error**4 / (a.error**4 / (a.count - 1) + b.error**4 / (b.count - 1))
    return Difference(a.mean - b.mean, error, degrees, (a.count, b.count), False)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for their number by Holm's step-down method, in the same order.

    Of m values, the k-th smallest is multiplied by m - k + 1, and is at least as large as the one before it and at
    most 1. A comparison that could not be tested has NaN; it stays NaN, and is not counted among the m.
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted, least = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted


def simultaneous(confidence: float, count: int) -> float:
    """The confidence of each of ``count`` intervals that together hold with ``confidence``, by Bonferroni."""
    return 1 - (1 - _checked(confidence)) / max(1, count)


def capped(value: float | None, ceiling: float | None, better: Direction = "lower") -> float | None:
    """The value of a run, of which a ceiling is the worst that counts.

    Args:
        value: the value; None, NaN or infinity for a run that diverged.
        ceiling: the value that a diverged run counts as. Values that are worse count as the ceiling too, so that no
            run is better off for having diverged. None for none.
        better: the direction that is better. For ``"higher"``, the ceiling bounds the values from below.

    Returns:
        The value, or the ceiling; None for a diverged run without a ceiling.
    """
    if value is None or not math.isfinite(value):
        return ceiling
    if ceiling is None:
        return value
    return min(value, ceiling) if better == "lower" else max(value, ceiling)


def area(
    grid: Sequence[float],
    values: Sequence[float | None],
    ceiling: float | None = None,
    better: Direction = "lower",
    log: bool = True,
) -> float:
    """The mean height of a curve over a grid: its area by the trapezoid rule, divided by the width of the grid.

    The unit is that of the values, so areas over grids of different widths can be compared. Of a single point, the
    height is its value.

    Args:
        grid: the places, such as learning rates, each once.
        values: the value at each place, such as the mean over the seeds; None, NaN or infinity where runs diverged.
        ceiling: the value that a diverged run counts as; see :func:`capped`.
        better: the direction that is better.
        log: whether widths are measured in the logarithm of the grid, as for a grid with ratio 2.

    Raises:
        UserError: the lists are empty or not equally long, a place is given twice, or is not positive on a logarithmic
            scale, or a value is missing and there is no ceiling.
    """
    if not grid or len(grid) != len(values):
        raise UserError(f"area: expected a value at each place of the grid; got {len(values)} for {len(grid)}")
    if len(set(grid)) < len(grid):
        raise UserError("area: a place of the grid is given twice; give its mean over the runs")
    if log and min(grid) <= 0:
        raise UserError(f"area: {min(grid):g} has no logarithm; use log=False")
    points = []
    for place, value in sorted(zip(grid, values, strict=True), key=lambda point: point[0]):
        height = capped(value, ceiling, better)
        if height is None:
            raise UserError(f"area: a run diverged at {place:g}; give a ceiling, the value that it counts as")
        points.append((math.log(place) if log else place, height))
    if len(points) == 1:
        return points[0][1]
    parts = [(b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in zip(points, points[1:], strict=False)]
    return math.fsum(parts) / (points[-1][0] - points[0][0])


def share_below(values: Sequence[float | None], threshold: float, better: Direction = "lower") -> Share:
    """The share of runs that are better than a threshold.

    Args:
        values: the values of the runs. A run that diverged has None, NaN or infinity, and is not better.
        threshold: the value that they are compared with.
        better: the direction that is better. For ``"higher"``, runs above the threshold are counted.
    """
    return Share(sum(is_below(value, threshold, better) for value in values), len(values))


def is_below(value: float | None, threshold: float, better: Direction = "lower") -> bool:
    """Whether a value is finite and better than a threshold."""
    if value is None or not math.isfinite(value):
        return False
    return value < threshold if better == "lower" else value > threshold


def _interval(mean: float, error: float, degrees: float, confidence: float) -> tuple[float, float]:
    if math.isnan(error):
        return math.nan, math.nan
    half = float(special.stdtrit(degrees, (1 + _checked(confidence)) / 2)) * error
    return mean - half, mean + half


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserError(f"confidence: expected a number between 0 and 1, such as 0.95; got {confidence:g}")
    return confidence


def _finite(values: Sequence[float], what: str) -> Sequence[float]:
    if not all(map(math.isfinite, values)):
        raise UserError(f"{what}: a value is not finite; leave the runs out that diverged, or give them a ceiling")
    return values
