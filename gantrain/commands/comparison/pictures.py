"""Comparisons as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gantrain.commands.comparison.compare import Comparison
from gantrain.commands.comparison.differences import Contrast
from gantrain.commands.comparison.grid import Grid, Method
from gantrain.commands.comparison.series import UNITS
from gantrain.commands.comparison.tables import seeds, shown
from gantrain.plotting import figures
from gantrain.utils.direction import Direction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUANTITIES = {"last": "", "best": ", at the best values", "area": ", areas"}


def curves(comparison: Comparison) -> Figure:
    """The curves of all groups over the cost, a panel for each metric."""
    panels: dict[str, list[figures.Curve]] = {metric: [] for metric in comparison.metrics}
    for metric in comparison.metrics:
        for group in comparison.groups:
            costs, estimates = group.curve(metric, comparison.cost)
            diverged = comparison.diverged(group, metric)
            label = group.label + (f" ({seeds(len(group.runs), diverged, None)})" if diverged else "")
            means, errors = [e.mean for e in estimates], [e.error for e in estimates]
            panels[metric].append(figures.Curve(label, group.method, costs, means, errors))
    return figures.comparison(panels, UNITS[comparison.at], comparison.cost, _verdicts(comparison.metrics))


def grid(grid: Grid) -> Figure:
    """The means of all methods over the values of the keys, a panel for each metric."""
    panels = {metric: [_line(grid, method, metric) for method in grid.methods] for metric in grid.comparison.metrics}
    names = None if grid.numeric else list(map(shown, grid.values))
    verdicts = _verdicts(grid.comparison.metrics)
    return figures.grid(panels, "\n".join(grid.keys), grid.log, names, grid.threshold, verdicts)


def differences(
    found: Sequence[Contrast], metrics: Mapping[str, Direction | None], styles: Mapping[str, str]
) -> Figure:
    """The differences with their intervals, a panel for each metric and quantity.

    Args:
        found: the differences, tested, of which at least one is known.
        metrics: the direction that is better by the metrics.
        styles: the name of the outer loop, which decides the colour, by the labels of the groups.
    """
    panels: dict[str, list[figures.Interval]] = {}
    labels = {}
    for each in found:
        if each.difference is None:
            continue
        title = f"{each.metric}{_QUANTITIES[each.quantity]}"
        name = f"{each.group} minus {each.baseline}"
        row = figures.Interval(name, styles[each.group], each.difference.mean, *each.interval)
        panels.setdefault(title, []).append(row)
        side = {"lower": "left is better", "higher": "right is better", None: "not ranked"}[metrics[each.metric]]
        labels[title] = f"difference ({side}), {100 * each.confidence:.4g} % interval"
    return figures.forest(panels, labels)


def _line(grid: Grid, method: Method, metric: str) -> figures.GridLine:
    names = list(map(shown, grid.values))
    places = [p.value if grid.numeric else names.index(shown(p.value)) for p in method.points]
    estimates = [grid.comparison.last(point.group, metric) for point in method.points]
    lost = [x for x, p in zip(places, method.points, strict=True) if grid.comparison.diverged(p.group, metric)]
    means, errors = [e.mean for e in estimates], [e.error for e in estimates]
    return figures.GridLine(method.label, method.method, places, means, errors, lost)


def _verdicts(metrics: Mapping[str, Direction | None]) -> dict[str, str]:
    return {metric: "not ranked" if b is None else f"{b} is better" for metric, b in metrics.items()}
