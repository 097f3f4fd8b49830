"""Differences between groups of runs, seed by seed, with intervals and p values that allow for their number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gantrain.commands.comparison.compare import Comparison
from gantrain.commands.comparison.groups import find_label
from gantrain.utils.statistics import Difference, holm, paired, simultaneous, welch

Correction = Literal["none", "holm"]


@dataclass(frozen=True)
class Contrast:
    """The difference of two groups in one quantity.

    Attributes:
        metric: the full name of the metric.
        quantity: what of it is compared: ``"last"``, the value at the common cost; or of methods, ``"best"``, the value
            at the best point of the grid, or ``"area"``.
        group: the label of the group.
        baseline: the label of the group that is subtracted.
        difference: the difference; None if a group has no value.
        p: the p value, adjusted if a correction was asked for; NaN without a test.
        confidence: the confidence of ``interval`` by itself; with a correction, all intervals together have the one
            that was asked for.
        interval: the confidence interval of the difference.
        notes: what the user should know about the runs that were left out, as parts of a line.
    """

    metric: str
    quantity: str
    group: str
    baseline: str
    difference: Difference | None
    notes: tuple[str, ...] = ()
    p: float = math.nan
    confidence: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)


def pairs_of(labels: Sequence[str], baseline: str | None) -> list[tuple[int, int]]:
    """The places of the groups that are compared: each with the baseline, or without one each with those before it.

    Args:
        labels: the labels of the groups.
        baseline: the label of one of them, or a part that no other label has.

    Raises:
        UserError: no group, or several, have the label of the baseline.
    """
    if baseline is None:
        return [(second, first) for first, second in itertools.combinations(range(len(labels)), 2)]
    place = find_label(baseline, labels)
    return [(i, place) for i in range(len(labels)) if i != place]


def contrasts(comparison: Comparison, baseline: str | None) -> list[Contrast]:
    """The differences of the groups at the common cost, without intervals yet.

    Args:
        comparison: the groups.
        baseline: as in :func:`pairs_of`.

    Raises:
        UserError: no group, or several, have the label of the baseline.
    """
    groups = comparison.groups
    found = []
    for metric in comparison.metrics:
        for i, j in pairs_of([group.label for group in groups], baseline):
            one, other = (comparison.values(groups[k], metric) for k in (i, j))
            found.append(contrast(metric, "last", groups[i].label, groups[j].label, one, other))
    return found


def contrast(
    metric: str,
    quantity: str,
    group: str,
    baseline: str,
    one: Mapping[int, float | None],
    other: Mapping[int, float | None],
) -> Contrast:
    """The difference of two groups over the seeds that both have; of groups without common seeds, by Welch's test.

    Args:
        metric: the full name of the metric.
        quantity: as in :class:`Contrast`.
        group: the label of the group.
        baseline: the label of the other.
        one: the values of the group by the seeds; None for runs that diverged.
        other: those of the other.
    """
    notes = []
    for label, own, others in ((group, one, other), (baseline, other, one)):
        alone = sorted(own.keys() - others.keys())
        if alone and one.keys() & other.keys():
            notes.append(f"only {label} has seed{'s' * (len(alone) > 1)} {_listed(alone)}")
        lost = sorted(seed for seed, value in own.items() if value is None)
        if lost:
            notes.append(f"{label} diverged with seed{'s' * (len(lost) > 1)} {_listed(lost)}")
    ones, others_ = ({s: v for s, v in values.items() if v is not None} for values in (one, other))
    difference = None
    if ones.keys() & others_.keys():
        difference = paired(ones, others_)
    elif one.keys() & other.keys():
        notes.append("no common seed has a value of both")
    elif ones and others_:
        difference = welch(list(ones.values()), list(others_.values()))
        notes.append("no common seeds: Welch's test")
    return Contrast(metric, quantity, group, baseline, difference, tuple(notes))


def tested(found: Sequence[Contrast], confidence: float, correct: Correction) -> list[Contrast]:
    """The contrasts with their p values and intervals.

    With the correction ``"holm"``, the p values are adjusted by Holm's method for the number of all contrasts that can
    be tested. The intervals are then those of Bonferroni, since Holm's method has none of its own that are as simple:
    each has the confidence ``1 - (1 - confidence) / m``.

    Args:
        found: all contrasts that are shown.
        confidence: the confidence of an interval, or with a correction of all intervals together; between 0 and 1.
        correct: the correction for the number of comparisons.

    Raises:
        UserError: the confidence is no number between 0 and 1.
    """
    p_values = [math.nan if each.difference is None else each.difference.p for each in found]
    count = number_of_tests(found) if correct == "holm" else 1
    each_confidence = simultaneous(confidence, count)
    adjusted = holm(p_values) if correct == "holm" else p_values
    return [
        replace(
            each,
            p=p,
            confidence=each_confidence,
            interval=each.interval if each.difference is None else each.difference.interval(each_confidence),
        )
        for each, p in zip(found, adjusted, strict=True)
    ]


def number_of_tests(found: Sequence[Contrast]) -> int:
    """The number of contrasts that can be tested."""
    return sum(each.difference is not None and not math.isnan(each.difference.p) for each in found)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
