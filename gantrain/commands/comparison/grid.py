"""Methods over a grid: runs that differ only in the seed and in the values of some keys, such as a learning rate."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gantrain.commands.comparison.compare import Comparison, require_one_ranked
from gantrain.commands.comparison.differences import Contrast, contrast, pairs_of
from gantrain.commands.comparison.groups import Group, as_text, distinct, same_data
from gantrain.config.base import nearest
from gantrain.errors import UserError
from gantrain.utils.statistics import Share, area, is_below, share_below


@dataclass(frozen=True)
class Point:
    """A value of the keys, and the runs of a method that have it.

    Attributes:
        value: the value.
        group: the runs.
    """

    value: Any
    group: Group


@dataclass(frozen=True)
class Method:
    """Runs that differ only in the seed and in the values of the keys.

    Attributes:
        label: the name of the method in tables and pictures.
        method: the name of the outer loop, which decides the colour.
        points: the points in ascending order of their values.
    """

    label: str
    method: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Range:
    """The widest row of neighbouring values of the grid at all of which the mean is better than the threshold.

    Attributes:
        low: the lowest of the values.
        high: the highest of the values.
        open_low: whether ``low`` is the lowest value of the grid, so that the range may go on below it.
        open_high: whether ``high`` is the highest value of the grid.
    """

    low: float
    high: float
    open_low: bool
    open_high: bool


@dataclass(frozen=True)
class Grid:
    """Methods over the values of some keys, at equal cost.

    Attributes:
        comparison: the groups of runs, one for each method and value.
        keys: the keys, which have the same value in each run.
        methods: the methods in the order in which their runs were named.
        values: all values of the keys: numbers in ascending order, others in the order in which they were met.
        numeric: whether all values are numbers; others have no area, no range and no edge.
        log: whether the values are positive and spread by ratios, so that widths are logarithmic.
        threshold: the value of the metric with which runs are compared; None for none.
    """

    comparison: Comparison
    keys: tuple[str, ...]
    methods: tuple[Method, ...]
    values: tuple[Any, ...]
    numeric: bool
    log: bool
    threshold: float | None = None

    def diverged(self, method: Method, metric: str) -> int:
        """The number of runs of a method that diverged before the common cost."""
        return sum(self.comparison.diverged(point.group, metric) for point in method.points)

    def height(self, point: Point, metric: str) -> float | None:
        """The mean over all runs at a point; None if one of them diverged and there is no ceiling."""
        values = list(self.comparison.values(point.group, metric).values())
        present = [value for value in values if value is not None]
        return statistics.fmean(present) if len(present) == len(values) else None

    def best(self, method: Method, metric: str) -> Point | None:
        """The point with the best mean, among those at which every run has a value."""
        better = self.comparison.metrics[metric]
        heights = [(height, point) for point in method.points if (height := self.height(point, metric)) is not None]
        if better is None or not heights:
            return None
        return (min if better == "lower" else max)(heights, key=lambda each: each[0])[1]

    def edge(self, method: Method, point: Point) -> str:
        """On which side the grid of a method ends at a point: "below" or "above"; else empty."""
        if not self.numeric:
            return ""
        if len(method.points) == 1:
            return "below and above"
        return "below" if point is method.points[0] else "above" if point is method.points[-1] else ""

    def area(self, method: Method, metric: str) -> float | None:
        """The mean height of the metric over the grid of a method; None if a run without a ceiling diverged."""
        heights = [self.height(point, metric) for point in method.points]
        if not self.numeric or self.comparison.metrics[metric] is None or None in heights:
            return None
        return area([point.value for point in method.points], heights, log=self.log)

    def share(self, method: Method, metric: str) -> Share:
        """The share of the method's runs that are better than the threshold."""
        assert self.threshold is not None
        values = [v for point in method.points for v in self.comparison.values(point.group, metric).values()]
        return share_below(values, self.threshold, self.comparison.metrics[metric] or "lower")

    def tolerated(self, method: Method, metric: str) -> Range | None:
        """The values of the keys that the method tolerates; None if the mean is nowhere better than the threshold."""
        if not self.numeric:
            return None
        assert self.threshold is not None
        better = self.comparison.metrics[metric] or "lower"
        heights = [self.height(point, metric) for point in method.points]
        passes = [is_below(height, self.threshold, better) for height in heights]
        rows = [
            [i for i, _ in row] for passed, row in itertools.groupby(enumerate(passes), key=lambda e: e[1]) if passed
        ]
        if not rows:
            return None
        places = [point.value for point in method.points]
        row = max(rows, key=lambda row: self.width(places[row[0]], places[row[-1]]))
        return Range(places[row[0]], places[row[-1]], row[0] == 0, row[-1] == len(places) - 1)

    def width(self, low: float, high: float) -> float:
        """The ratio of two values on a logarithmic scale, and else their difference."""
        return high / low if self.log else high - low

    def contrasts(self, baseline: str | None) -> list[Contrast]:
        """The differences of the methods at their best values, and of their areas, without intervals yet.

        The areas are those of each seed over the values that both methods have, so that they can be paired by seed.

        Raises:
            UserError: no method, or several, have the label of the baseline.
        """
        found = []
        pairs = pairs_of([method.label for method in self.methods], baseline)
        ranked = [metric for metric, better in self.comparison.metrics.items() if better is not None]
        for metric, quantity in itertools.product(ranked, ("best", "area") if self.numeric else ("best",)):
            for i, j in pairs:
                one, other = self.methods[i], self.methods[j]
                if quantity == "best":
                    values = [self._at_best(method, metric) for method in (one, other)]
                else:
                    common = {p.value for p in one.points} & {p.value for p in other.points}
                    values = [self._areas(method, metric, common) for method in (one, other)]
                each = contrast(metric, quantity, one.label, other.label, *values)
                if quantity == "area" and each.difference is None and common:
                    each = replace(each, notes=("a run diverged: the areas need --ceiling VALUE",))
                found.append(each)
        return found

    def _at_best(self, method: Method, metric: str) -> Mapping[int, float | None]:
        point = self.best(method, metric)
        return {} if point is None else self.comparison.values(point.group, metric)

    def _areas(self, method: Method, metric: str, places: set[float]) -> dict[int, float | None]:
        """The area of each seed that has a run at all of the places.

        It is None for all seeds if a run without a ceiling diverged: the other seeds alone would be too good.
        """
        points = [point for point in method.points if point.value in places]
        columns = [self.comparison.values(point.group, metric) for point in points]
        if not columns:
            return {}
        areas: dict[int, float | None] = {}
        lost = any(value is None for column in columns for value in column.values())
        for seed in sorted(set.intersection(*(set(column) for column in columns))):
            heights = [column[seed] for column in columns]
            areas[seed] = None if lost else area([p.value for p in points], heights, log=self.log)
        return areas


def make_grid(comparison: Comparison, keys: Sequence[str], threshold: float | None = None) -> Grid:
    """Join the groups of a comparison that differ only in the values of some keys.

    Args:
        comparison: the groups.
        keys: the keys, such as ``game.generator.optimizer.lr``. Each run has the same value at all of them.
        threshold: the value of the metric with which runs are compared.

    Raises:
        UserError: a run has no such key, or other values at the keys; or there is a threshold for several metrics, or
            for one that ranks no runs.
    """
    if threshold is not None:
        require_one_ranked(comparison.metrics, "--threshold")
    joined: list[tuple[str, list[Point]]] = []
    for group in comparison.groups:
        value, rest = _split(group, keys)
        place = next(
            (points for text, points in joined if text == rest and same_data(points[0].group.digest, group.digest)),
            None,
        )
        if place is None:
            joined.append((rest, place := []))
        place.append(Point(value, group))
    values = list({as_text({"": p.value}): p.value for _, points in joined for p in points}.values())
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric:
        values = sorted(set(values))
        for _, points in joined:
            points.sort(key=lambda point: point.value)
    labels = distinct(
        [(_label([p.group for p in points], keys), points[0].group.runs[0].folder) for _, points in joined]
    )
    methods = tuple(
        Method(label, points[0].group.method, tuple(points)) for label, (_, points) in zip(labels, joined, strict=True)
    )
    return Grid(comparison, tuple(keys), methods, tuple(values), numeric, numeric and _by_ratios(values), threshold)


def _split(group: Group, keys: Sequence[str]) -> tuple[Any, str]:
    """The value of the keys in a group, and the rest of its config as text."""
    folder = group.runs[0].folder
    rest = dict(group.config)
    found: list[Any] = []
    for key in keys:
        inside = {name: rest.pop(name) for name in list(rest) if name == key or name.startswith(f"{key}.")}
        if not inside:
            known = nearest(key, group.config)
            raise UserError(f"--over {key}: the config of {folder} has no such key; leave the run out{known}")
        found.append(inside[key] if key in inside else {name[len(key) + 1 :]: v for name, v in inside.items()})
    for key, value in zip(keys, found, strict=True):
        if value != found[0]:
            raise UserError(
                f"--over {','.join(keys)}: {folder} has {keys[0]}={found[0]} and {key}={value}; expected the same "
                "value at all keys, so leave the run out"
            )
    return found[0], as_text(rest)


def _label(groups: Sequence[Group], keys: Sequence[str]) -> str:
    """What the labels of a method's groups have in common, without the values of the keys.

    The runs of a sweep are named by words such as ``outer=gda,lr=0.01``. Where the names have no word in common, the
    method is named by its outer loop.
    """

    def is_of_keys(word: str) -> bool:
        name = word.partition("=")[0]
        return "=" in word and any(f".{key}".endswith(f".{name}") for key in keys)

    words = [[word for word in group.label.split(",") if not is_of_keys(word)] for group in groups]
    common = [word for word in words[0] if all(word in others for others in words)]
    return ",".join(common) or groups[0].method


def _by_ratios(values: Sequence[float]) -> bool:
    """Whether the ratios of successive values are more alike than their differences; of two values, whether they are
    a factor of 2 apart."""
    if len(values) < 2 or values[0] <= 0:
        return False
    if len(values) == 2:
        return values[1] >= 2 * values[0]

    def spread(steps: list[float]) -> float:
        return statistics.pstdev(steps) / statistics.fmean(steps)

    pairs = list(itertools.pairwise(values))
    return spread([math.log(b / a) for a, b in pairs]) < spread([b - a for a, b in pairs])
