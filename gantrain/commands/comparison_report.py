"""The compare command: a comparison of runs as a table, as a picture and as CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantrain.commands.compare import LEAD, UNITS, Comparison, Direction, Estimate, compare, leader
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.utils.io import make_folder, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "comparison.png"


def compare_runs(
    runs: Sequence[str | Path], metrics: Sequence[str] | None = None, at: str = "gradients", output: str | None = None
) -> str:
    """Compare runs and return the table as text; picture and tables are written into the folder ``output`` if given.

    Raises:
        UserError: :func:`compare` refuses the runs, or ``output`` cannot be written.
    """
    comparison = compare(runs, metrics, at)
    text = table(comparison)
    if output is None:
        return text
    folder = Path(output)
    make_folder(folder)
    figure_to_png(picture(comparison), folder / PICTURE)
    write_csv(folder / "comparison.csv", _summary(comparison))
    write_csv(folder / "curves.csv", _curves(comparison))
    return f"{text}\n\n{folder / PICTURE}"


def table(comparison: Comparison) -> str:
    """The comparison as text for a terminal."""
    width = max(len(group.label) for group in comparison.groups)
    lines = [
        f"at {comparison.cost:g} {UNITS[comparison.at]}, the most that all runs have reached ({comparison.limit}); "
        "interpolated between measurements",
        "mean ± standard error over the seeds"
        + (f"; * leads by more than {LEAD} standard errors of the difference" if _ranks(comparison) else ""),
    ]
    for metric, better in comparison.metrics.items():
        columns = {"last": [comparison.last(group, metric) for group in comparison.groups]}
        if better is not None:
            columns["best"] = [best for group in comparison.groups if (best := comparison.best(group, metric))]
        leaders = {name: leader(estimates, better) for name, estimates in columns.items()}
        lines += ["", f"{metric} ({_verdict(metric, better)})"]
        lines.append(f"{'':<{width}}  seeds" + "".join(f"  {name:>20}  " for name in columns).rstrip())
        for row, group in enumerate(comparison.groups):
            cells = [f"  {e[row]!s:>20} {'*' if leaders[name] == row else ' '}" for name, e in columns.items()]
            lines.append(f"{group.label:<{width}}  {len(group.runs):>5}{''.join(cells)}".rstrip())
    return "\n".join([*lines, *(["", comparison.advice] if comparison.advice else [])])


def picture(comparison: Comparison) -> Figure:
    """The curves of all groups, a panel for each metric."""
    panels = {
        metric: [
            figures.Curve(group.label, group.method, costs, [e.mean for e in estimates], [e.error for e in estimates])
            for group in comparison.groups
            for costs, estimates in [group.curve(metric)]
        ]
        for metric in comparison.metrics
    }
    verdicts = {metric: "not ranked" if b is None else f"{b} is better" for metric, b in comparison.metrics.items()}
    return figures.comparison(panels, UNITS[comparison.at], comparison.cost, verdicts)


def _verdict(metric: str, better: Direction | None) -> str:
    if better is not None:
        return f"{better} is better" + (", on the training batches" if metric.startswith("loss/") else "")
    if metric.startswith("loss/"):
        return "not ranked: the loss of a game does not say which run is better"
    return "not ranked: nobody says which of two values is better"


def _ranks(comparison: Comparison) -> bool:
    return len(comparison.groups) > 1 and any(better is not None for better in comparison.metrics.values())


def _summary(comparison: Comparison) -> list[list[Any]]:
    head = ["metric", "better", "group", "seeds", comparison.at, "last", "last_error", "best", "best_error"]
    rows: list[list[Any]] = [head]
    for metric, better in comparison.metrics.items():
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric)
            numbers = _numbers(last, best or Estimate(math.nan, math.nan, 0))
            rows.append([metric, better or "", group.label, last.count, comparison.cost, *map(_cell, numbers)])
    return rows


def _curves(comparison: Comparison) -> list[list[Any]]:
    rows: list[list[Any]] = [["metric", "group", "seeds", comparison.at, "mean", "error"]]
    for metric in comparison.metrics:
        for group in comparison.groups:
            for cost, estimate in zip(*group.curve(metric), strict=True):
                rows.append([metric, group.label, estimate.count, float(cost), *map(_cell, _numbers(estimate))])
    return rows


def _numbers(*estimates: Estimate) -> list[float]:
    return [number for estimate in estimates for number in (estimate.mean, estimate.error)]


def _cell(number: float) -> str:
    """A number as a cell, which is empty for NaN, such as the error of a single run."""
    return "" if math.isnan(number) else repr(number)
