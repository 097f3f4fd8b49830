"""Comparisons as rows of CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gantrain.commands.comparison.compare import Comparison
from gantrain.commands.comparison.differences import Contrast
from gantrain.commands.comparison.grid import Grid
from gantrain.commands.comparison.tables import shown
from gantrain.utils.statistics import Estimate

Rows = list[list[Any]]
_NONE = Estimate(math.nan, math.nan, 0)


def summary(comparison: Comparison) -> Rows:
    """A row for each metric and group: the value at the common cost and the best value, and the runs that diverged."""
    head = ["metric", "better", "group", "seeds", comparison.at, "last", "last_error", "best", "best_error", "diverged"]
    rows: Rows = [head]
    for metric, better in comparison.metrics.items():
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric) or _NONE
            numbers = map(_cell, _numbers(last, best))
            lost = comparison.diverged(group, metric)
            rows.append([metric, better or "", group.label, len(group.runs), comparison.cost, *numbers, lost])
    return rows


def curves(comparison: Comparison) -> Rows:
    """A row for each metric, group and cost at which a run was measured."""
    rows: Rows = [["metric", "group", "seeds", comparison.at, "mean", "error"]]
    for metric in comparison.metrics:
        for group in comparison.groups:
            for cost, estimate in zip(*group.curve(metric, comparison.cost), strict=True):
                rows.append([metric, group.label, estimate.count, float(cost), *map(_cell, _numbers(estimate))])
    return rows


def differences(found: Sequence[Contrast], comparison: Comparison) -> Rows:
    """A row for each difference. ``p`` is adjusted if a correction was asked for, and ``p_alone`` is not."""
    head = ["metric", "better", "quantity", "group", "baseline", "difference", "error", "low", "high", "confidence"]
    rows: Rows = [[*head, "p", "p_alone", "test", "seeds", "baseline_seeds"]]
    for each in found:
        row: list[Any] = [each.metric, comparison.metrics[each.metric] or "", each.quantity, each.group, each.baseline]
        if each.difference is None:
            rows.append([*row, *[""] * 10])
            continue
        numbers = (each.difference.mean, each.difference.error, *each.interval, each.confidence)
        row += map(_cell, (*numbers, each.p, each.difference.p))
        rows.append([*row, "paired" if each.difference.paired else "welch", *each.difference.counts])
    return rows


def points(grid: Grid) -> Rows:
    """A row for each metric, method and value of the keys."""
    rows: Rows = [["metric", "better", "method", ",".join(grid.keys), "seeds", "diverged", "mean", "error"]]
    for metric, better in grid.comparison.metrics.items():
        for method in grid.methods:
            for point in method.points:
                value = repr(point.value) if grid.numeric else shown(point.value)
                counts = len(point.group.runs), grid.comparison.diverged(point.group, metric)
                numbers = map(_cell, _numbers(grid.comparison.last(point.group, metric)))
                rows.append([metric, better or "", method.label, value, *counts, *numbers])
    return rows


def methods(grid: Grid, confidence: float = 0.95) -> Rows:
    """A row for each metric that ranks runs and each method: its best value, its area and what it tolerates."""
    head = ["metric", "better", "method", "runs", "diverged", "best", "best_error", "at", "edge", "area"]
    rows: Rows = [[*head, "threshold", "beyond", "beyond_low", "beyond_high", "tolerated_low", "tolerated_high"]]
    for metric, better in grid.comparison.metrics.items():
        if better is None:
            continue
        for method in grid.methods:
            best, area = grid.best(method, metric), grid.area(method, metric)
            estimate = _NONE if best is None else grid.comparison.last(best.group, metric)
            at = "" if best is None else repr(best.value) if grid.numeric else shown(best.value)
            edge = "" if best is None else grid.edge(method, best)
            runs = sum(len(point.group.runs) for point in method.points)
            row = [metric, better, method.label, runs, grid.diverged(method, metric), *map(_cell, _numbers(estimate))]
            row += [at, edge, "" if area is None else repr(area)]
            if grid.threshold is None:
                rows.append([*row, *[""] * 6])
                continue
            share, found = grid.share(method, metric), grid.tolerated(method, metric)
            ends = [repr(found.low), repr(found.high)] if found else ["", ""]
            rows.append([*row, grid.threshold, share.count, *map(_cell, share.interval(confidence)), *ends])
    return rows


def _numbers(*estimates: Estimate) -> list[float]:
    return [number for estimate in estimates for number in (estimate.mean, estimate.error)]


def _cell(number: float) -> str:
    """A number as a cell, which is empty for NaN, such as the error of a single run."""
    return "" if math.isnan(number) else repr(number)
