"""The compare command: groups of runs that differ only in the seed, at a cost that all runs have reached."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gantrain.config.base import nearest, one_of
from gantrain.config.metrics import METRICS, value_names
from gantrain.config.paths import nothing_at
from gantrain.config.shipped import is_missing
from gantrain.errors import UserError
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.runs.folder import CHANGEABLE, comparable_config, is_run
from gantrain.runs.monitor import read_metrics
from gantrain.utils.io import make_folder, write_csv
from gantrain.utils.nested import flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The values that evaluations log, by their names without the label in brackets, and whether more is better.
EVALUATED = {
    name: not value.lower_is_better for metric in METRICS.values() for value in metric.values for name in value.names
} | {"validation/accuracy": True, "validation/loss": False}
UNITS = {"gradients": "gradient evaluations", "kimg": "thousand samples", "step": "training steps"}
PICTURE = "comparison.png"


@dataclass(frozen=True)
class Estimate:
    """A mean over runs with different seeds.

    Attributes:
        mean: the mean over the runs.
        error: the standard error of the mean, ``s / sqrt(n)`` with the sample's standard deviation ``s``; NaN for one
            run.
        count: n, the number of runs.
    """

    mean: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), error, len(values))

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + ("" if math.isnan(self.error) else f" ± {self.error:.2g}")


@dataclass(frozen=True)
class Series:
    """The logged values of a run over its cost.

    Attributes:
        folder: the folder of the run.
        seed: the seed of the run.
        reached: the cost of the run so far.
        values: metric -> (costs, values), ascending in cost, without values that are not finite.
    """

    folder: Path
    seed: int
    reached: float
    values: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def value(self, metric: str, cost: float) -> float:
        """The value at a cost, interpolated linearly; beyond the last measurement it is the last value."""
        return float(np.interp(cost, *self.values[metric]))

    def best(self, metric: str, cost: float) -> float:
        """The best value up to a cost."""
        costs, values = self.values[metric]
        seen = [*values[costs <= cost].tolist(), self.value(metric, cost)]
        return max(seen) if more_is_better(metric) else min(seen)


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed.

    Attributes:
        label: the name of the group in tables and pictures.
        method: the name of the outer loop, which decides the colour.
        runs: the runs in ascending order of their seeds.
    """

    label: str
    method: str
    runs: tuple[Series, ...]

    def curve(self, metric: str) -> tuple[np.ndarray, list[Estimate]]:
        """The costs at which some run measured the metric, within the range that all runs share, and the estimates."""
        measured = [run.values[metric][0] for run in self.runs]
        first, last = max(costs[0] for costs in measured), min(costs[-1] for costs in measured)
        costs = np.unique(np.concatenate(measured))
        costs = costs[(costs >= first) & (costs <= last)]
        return costs, [Estimate.of([run.value(metric, cost) for run in self.runs]) for cost in costs]


@dataclass(frozen=True)
class Comparison:
    """Groups of runs at equal cost.

    Attributes:
        groups: the groups in the order in which their runs were named.
        metrics: the full names of the values that are compared.
        at: the kind of cost: "gradients", "kimg" or "step".
        cost: the largest cost that all runs have reached.
        limit: the folder of the run that has reached no more than that.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    at: str
    cost: float
    limit: Path

    def last(self, group: Group, metric: str) -> Estimate:
        """The metric of the group at the common cost."""
        return Estimate.of([run.value(metric, self.cost) for run in group.runs])

    def best(self, group: Group, metric: str) -> Estimate:
        """The best values of the metric up to the common cost."""
        return Estimate.of([run.best(metric, self.cost) for run in group.runs])


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


def compare(runs: Sequence[str | Path], metrics: Sequence[str] | None = None, at: str = "gradients") -> Comparison:
    """Read runs and bring them to equal cost.

    Args:
        runs: folders of runs, or folders of such folders.
        metrics: names as they are logged, with or without the label in brackets, or keys as in ``evaluate.metrics``;
            by default the values that all runs have evaluated, or else the losses.
        at: the kind of cost: "gradients" (of the player that is evaluated most), "kimg" or "step".

    Raises:
        UserError: there are no runs, nothing that all of them have logged, or the same run twice.
    """
    groups = _groups(runs, at)
    all_runs = [run for group in groups for run in group.runs]
    chosen = _choose_metrics(all_runs, metrics)
    limit = min(all_runs, key=lambda run: run.reached)
    for run in all_runs:
        for metric in chosen:
            if run.values[metric][0][0] > limit.reached:
                raise UserError(
                    f"{limit.folder}: has reached only {limit.reached:g} {UNITS[at]}, and {metric} of {run.folder} "
                    f"begins at {run.values[metric][0][0]:g}; leave one of the two out"
                )
    return Comparison(tuple(groups), chosen, at, limit.reached, limit.folder)


def table(comparison: Comparison) -> str:
    """The comparison as text for a terminal."""
    width = max(len(group.label) for group in comparison.groups)
    lines = [
        f"at {comparison.cost:g} {UNITS[comparison.at]}, the most that all runs have reached ({comparison.limit}); "
        "interpolated between measurements",
        "mean ± standard error over the seeds",
    ]
    for metric in comparison.metrics:
        extreme = "highest" if more_is_better(metric) else "lowest"
        lines += ["", f"{metric} (best: the {extreme})", f"{'':<{width}}  seeds  {'last':>20}  {'best':>20}"]
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric)
            lines.append(f"{group.label:<{width}}  {last.count:>5}  {last!s:>20}  {best!s:>20}")
    return "\n".join(lines)


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
    return figures.comparison(panels, UNITS[comparison.at], comparison.cost)


def more_is_better(metric: str) -> bool:
    """Whether the larger of two values of a metric is the better one; of losses the smaller one is."""
    return EVALUATED.get(_without_label(metric), False)


def _groups(runs: Sequence[str | Path], at: str) -> list[Group]:
    """The runs in groups of one config, each with a label of its own."""
    by_config: dict[str, list[tuple[Series, dict[str, Any]]]] = {}
    for folder in _run_folders(runs):
        config = comparable_config(folder)
        by_config.setdefault(_without_seed(config), []).append((_series(folder, config["run"]["seed"], at), config))
    if not by_config:
        raise UserError("no run to compare; name the folder of a run, or of runs")
    groups = []
    for members in by_config.values():
        members.sort(key=lambda member: member[0].seed)
        for (one, _), (two, _) in zip(members, members[1:], strict=False):
            if one.seed == two.seed:
                raise UserError(
                    f"{one.folder} and {two.folder}: have the same config and the same seed, {one.seed}; leave one out"
                )
        first, config = members[0]
        groups.append(Group(_label(config, first.folder), _method(config), tuple(series for series, _ in members)))
    labels = [group.label for group in groups]
    return [
        g if labels.count(g.label) == 1 else Group(f"{g.label} ({g.runs[0].folder})", g.method, g.runs) for g in groups
    ]


def _run_folders(runs: Sequence[str | Path]) -> list[Path]:
    """The folders of runs among ``runs`` and in them, each once."""
    folders: dict[Path, Path] = {}
    for run in map(Path, runs):
        inside = [run] if is_run(run) else sorted(p for p in run.glob("*") if is_run(p))
        if not inside:
            nothing = f": {nothing_at(run)}" if is_missing(run) else " and none in it"
            raise UserError(f"{run}: no run here{nothing}; expected a folder of a run, or of runs, as of a sweep")
        folders |= {p.resolve(): p for p in inside if p.resolve() not in folders}
    return list(folders.values())


def _without_seed(config: Mapping[str, Any]) -> str:
    """The part of a config that is the same in all runs of a group, as text."""
    left_out = ("run.seed", "run.name", *CHANGEABLE)
    kept = {
        key: leaf
        for key, leaf in flatten(config).items()
        if not any(key == other or key.startswith(f"{other}.") for other in left_out)
    }
    return json.dumps(kept, sort_keys=True, default=repr)


def _label(config: Mapping[str, Any], folder: Path) -> str:
    return re.sub(r"[-_,. ]?seed[-_= ]?\d+$", "", config["run"]["name"]) or folder.resolve().parent.name


def _method(config: Mapping[str, Any]) -> str:
    outer = config.get("outer")
    return str((outer.get("name") or outer.get("target")) if isinstance(outer, Mapping) else outer)


def _series(folder: Path, seed: int, at: str) -> Series:
    rows = read_metrics(folder)
    # Each step costs as much as the next, so that costs between the steps that are logged lie on a straight line.
    logged = [(row["step"], _cost(row, at, folder)) for row in rows if "kimg" in row]
    if not logged:
        raise UserError(f"{folder}: has logged no step yet; leave the run out")
    steps, costs = np.array([(0, 0), *logged], dtype=float).T
    if steps[-1] == 0 or (np.diff(steps) < 0).any() or (np.diff(costs) < 0).any():
        raise UserError(
            f"{folder}/metrics.jsonl: steps or their {at} do not go up; it is damaged, so leave the run out"
        )
    slope = costs[-1] / steps[-1]

    def cost(step: float) -> float:
        return slope * step if step > steps[-1] else float(np.interp(step, steps, costs))

    values: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "time") and math.isfinite(value):
                values.setdefault(name, []).append((cost(row["step"]), value))
    columns = {}
    for name, pairs in values.items():
        costs_of, numbers = np.array(pairs, dtype=float).T
        columns[name] = costs_of, numbers
    return Series(folder, seed, cost(rows[-1]["step"]), columns)


def _cost(row: Mapping[str, float], at: str, folder: Path) -> float:
    found = [v for name, v in row.items() if (name.startswith("gradients/") if at == "gradients" else name == at)]
    if not found or not all(map(math.isfinite, found)):
        raise UserError(
            f"{folder}/metrics.jsonl: the row of step {row['step']} does not say its {at}; leave the run out"
        )
    return max(found)


def _choose_metrics(runs: Sequence[Series], metrics: Sequence[str] | None) -> tuple[str, ...]:
    """The full names of the metrics that are compared."""
    common = [name for name in runs[0].values if all(name in run.values for run in runs)]
    if metrics is None:
        chosen = [n for n in common if _without_label(n) in EVALUATED] or [n for n in common if n.startswith("loss/")]
        if not chosen:
            raise UserError(f"{runs[0].folder}: no metric that all runs have logged; name some with --metrics")
        return tuple(chosen)
    chosen = []
    for metric in metrics:
        names = {metric, *value_names(metric)}
        fitting = [name for name in common if {name, _without_label(name)} & names]
        if not fitting:
            lacking = next(
                (run for run in runs if not any({n, _without_label(n)} & names for n in run.values)), runs[0]
            )
            known = nearest(metric, map(_without_label, lacking.values))
            raise UserError(f"{lacking.folder}: has logged no {metric}; expected {one_of(lacking.values)}{known}")
        chosen += [name for name in fitting if name not in chosen]
    if not chosen:
        raise UserError("--metrics: expected the name of a metric, as in --metrics fid,isc")
    return tuple(chosen)


def _without_label(name: str) -> str:
    """The name of a value without the label of the features, which stands in brackets."""
    return name.partition("[")[0]


def _summary(comparison: Comparison) -> list[list[Any]]:
    rows: list[list[Any]] = [["metric", "group", "seeds", comparison.at, "last", "last_error", "best", "best_error"]]
    for metric in comparison.metrics:
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric)
            rows.append([metric, group.label, last.count, comparison.cost, *map(_cell, _numbers(last, best))])
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
