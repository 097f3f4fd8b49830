"""Runs beside one another: groups that differ only in the seed, at a cost that all have reached."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.config.base import nearest, one_of
from gantrain.config.loading import resolved
from gantrain.errors import UserError
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.runs.folder import CHANGEABLE, flat, is_run, open_run
from gantrain.runs.monitor import read_metrics
from gantrain.train.callbacks.metrics import NAMES
from gantrain.utils.io import write, writing_into

# MetricEvaluation metrics, by their names without the features in brackets, and whether more is better.
MEASURED = {
    **dict.fromkeys(("inception_score", "precision", "recall", "validation/accuracy"), True),
    **dict.fromkeys(("fid", "frechet_distance", "fid_infinity", "frechet_distance_infinity"), False),
    **dict.fromkeys(("kid", "kernel_distance", "perceptual_path_length", "validation/loss"), False),
}
UNITS = {"gradients": "gradient evaluations", "kimg": "thousand samples", "step": "training steps"}
PICTURE = "comparison.png"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the runs.
        error: standard error of the mean, ``s / sqrt(n)`` with the sample's standard deviation ``s``; NaN for one run.
        count: n.
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
    """What a run has logged, over its cost.

    Attributes:
        folder: of the run.
        seed: of the run.
        reached: the cost so far.
        values: metric -> (costs, values), ascending in cost, without values that are not finite.
    """

    folder: Path
    seed: int
    reached: float
    values: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def value(self, metric: str, cost: float) -> float:
        """At a cost, interpolated linearly; the last one measured where that is earlier."""
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
        label: what they are called.
        method: name of the outer loop, which gives the colour.
        runs: by ascending seed.
    """

    label: str
    method: str
    runs: tuple[Series, ...]

    def curve(self, metric: str) -> tuple[np.ndarray, list[Estimate]]:
        """Costs at which the metric was measured, as far as all runs have it, and the estimates there."""
        measured = [run.values[metric][0] for run in self.runs]
        first, last = max(costs[0] for costs in measured), min(costs[-1] for costs in measured)
        costs = np.unique(np.concatenate(measured))
        costs = costs[(costs >= first) & (costs <= last)]
        return costs, [Estimate.of([run.value(metric, cost) for run in self.runs]) for cost in costs]


@dataclass(frozen=True)
class Comparison:
    """Groups of runs at equal cost.

    Attributes:
        groups: in the order in which their runs were named.
        metrics: what is compared, by full name.
        at: "gradients", "kimg" or "step".
        cost: the largest that all runs have reached.
        limit: the run that has reached no more than that.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    at: str
    cost: float
    limit: Path

    def last(self, group: Group, metric: str) -> Estimate:
        return Estimate.of([run.value(metric, self.cost) for run in group.runs])

    def best(self, group: Group, metric: str) -> Estimate:
        return Estimate.of([run.best(metric, self.cost) for run in group.runs])


def compare_runs(
    runs: Sequence[str | Path], metrics: Sequence[str] | None = None, at: str = "gradients", output: str | None = None
) -> str:
    """Compare runs, write picture and tables into ``output`` where that is given, and return the table.

    Raises:
        UserError: as :func:`compare`; or ``output`` cannot be written.
    """
    comparison = compare(runs, metrics, at)
    text = table(comparison)
    if output is None:
        return text
    folder = Path(output)
    with writing_into(folder):
        figure_to_png(picture(comparison), folder / PICTURE)
        write(folder / "comparison.csv", _summary(comparison))
        write(folder / "curves.csv", _curves(comparison))
    return f"{text}\n\n{folder / PICTURE}"


def compare(runs: Sequence[str | Path], metrics: Sequence[str] | None = None, at: str = "gradients") -> Comparison:
    """Read runs and bring them to equal cost.

    Args:
        runs: folders of runs, or folders of such folders.
        metrics: names as they are logged, without the features in brackets if one likes, or as in ``evaluate.metrics``;
            by default those evaluated in all runs, or else the losses.
        at: "gradients" (of the player that is evaluated most), "kimg" or "step".

    Raises:
        UserError: there are no runs, nothing that all of them have logged, or a run is there twice.
    """
    found: dict[str, list[tuple[Series, Any]]] = {}
    for folder in _expanded(runs):
        _, config = open_run(folder)
        found.setdefault(_without_seed(config), []).append((_series(folder, config.run.seed, at), config))
    if not found:
        raise UserError("no run to compare; name the folder of a run, or of runs")
    groups = []
    for members in found.values():
        members.sort(key=lambda member: member[0].seed)
        for (one, _), (two, _) in zip(members, members[1:], strict=False):
            if one.seed == two.seed:
                raise UserError(f"{one.folder} and {two.folder}: one config with one seed, {one.seed}; leave one away")
        series, configs = zip(*members, strict=True)
        groups.append(Group(_label(configs[0], series[0].folder), _method(configs[0]), series))
    labels = [group.label for group in groups]
    groups = [
        g if labels.count(g.label) == 1 else Group(f"{g.label} ({g.runs[0].folder})", g.method, g.runs) for g in groups
    ]
    everyone = [run for group in groups for run in group.runs]
    chosen = _chosen(everyone, metrics)
    limit = min(everyone, key=lambda run: run.reached)
    for run in everyone:
        for metric in chosen:
            if run.values[metric][0][0] > limit.reached:
                raise UserError(
                    f"{limit.folder}: has reached only {limit.reached:g} {UNITS[at]}, and {metric} of {run.folder} "
                    f"begins at {run.values[metric][0][0]:g}; leave one of them away"
                )
    return Comparison(tuple(groups), chosen, at, limit.reached, limit.folder)


def table(comparison: Comparison) -> str:
    """The comparison in words and numbers."""
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


def picture(comparison: Comparison) -> Any:
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
    return MEASURED.get(_bare(metric), False)


def _expanded(runs: Sequence[str | Path]) -> list[Path]:
    folders: dict[Path, Path] = {}
    for run in map(Path, runs):
        inside = [run] if is_run(run) else sorted(p for p in run.glob("*") if is_run(p))
        if not inside:
            raise UserError(f"{run}: no run here and none in it; expected a folder of a run, or of runs, as of a sweep")
        folders |= {p.resolve(): p for p in inside if p.resolve() not in folders}
    return list(folders.values())


def _without_seed(config: Any) -> str:
    """What runs of one group have in common."""
    left_out = ("run.seed", "run.name", *CHANGEABLE)
    kept = {
        k: v for k, v in flat(resolved(config)).items() if not any(k == c or k.startswith(f"{c}.") for c in left_out)
    }
    return json.dumps(kept, sort_keys=True)


def _label(config: Any, folder: Path) -> str:
    return re.sub(r"[-_,. ]?seed[-_= ]?\d+$", "", config.run.name) or folder.resolve().parent.name


def _method(config: Any) -> str:
    return getattr(config.outer, "name", None) or str(config.outer.target)


def _series(folder: Path, seed: int, at: str) -> Series:
    rows = read_metrics(folder)
    # Each step costs as much as the next, so that costs between the steps that are logged lie on a straight line.
    logged = [(row["step"], _cost(row, at)) for row in rows if "kimg" in row]
    if not logged:
        raise UserError(f"{folder}: has logged no step yet; leave it away")
    steps, costs = np.array([(0, 0), *logged], dtype=float).T
    slope = costs[-1] / steps[-1]

    def cost(step: float) -> float:
        return slope * step if step > steps[-1] else float(np.interp(step, steps, costs))

    values: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "time") and math.isfinite(value):
                values.setdefault(name, []).append((cost(row["step"]), value))
    columns = {name: tuple(np.array(pairs, dtype=float).T) for name, pairs in values.items()}
    return Series(folder, seed, cost(rows[-1]["step"]), columns)


def _cost(row: Mapping[str, float], at: str) -> float:
    if at == "gradients":
        return max(value for name, value in row.items() if name.startswith("gradients/"))
    return row[at]


def _chosen(runs: Sequence[Series], metrics: Sequence[str] | None) -> tuple[str, ...]:
    common = [name for name in runs[0].values if all(name in run.values for run in runs)]
    if metrics is None:
        chosen = [n for n in common if _bare(n) in MEASURED] or [n for n in common if n.startswith("loss/")]
        if not chosen:
            raise UserError(f"{runs[0].folder}: no metric that all runs have logged; name some with --metrics")
        return tuple(chosen)
    chosen = []
    for metric in metrics:
        wanted = {"prc": ("precision", "recall")}.get(metric, (metric, *NAMES.get(metric, ())))
        fitting = [name for name in common if name in wanted or _bare(name) in wanted]
        if not fitting:
            lacking = next((run for run in runs if not any({n, _bare(n)} & {*wanted} for n in run.values)), runs[0])
            known = nearest(metric, map(_bare, lacking.values))
            raise UserError(f"{lacking.folder}: has logged no {metric}; expected {one_of(lacking.values)}{known}")
        chosen += [name for name in fitting if name not in chosen]
    if not chosen:
        raise UserError("--metrics: expected the name of a metric, as in --metrics fid,isc")
    return tuple(chosen)


def _bare(name: str) -> str:
    return name.partition("[")[0]


def _summary(comparison: Comparison) -> str:
    rows = [["metric", "group", "seeds", comparison.at, "last", "last_error", "best", "best_error"]]
    for metric in comparison.metrics:
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric)
            rows.append([metric, group.label, last.count, comparison.cost, *map(_cell, _numbers(last, best))])
    return _csv(rows)


def _curves(comparison: Comparison) -> str:
    rows = [["metric", "group", "seeds", comparison.at, "mean", "error"]]
    for metric in comparison.metrics:
        for group in comparison.groups:
            for cost, estimate in zip(*group.curve(metric), strict=True):
                rows.append([metric, group.label, estimate.count, float(cost), *map(_cell, _numbers(estimate))])
    return _csv(rows)


def _numbers(*estimates: Estimate) -> list[float]:
    return [number for estimate in estimates for number in (estimate.mean, estimate.error)]


def _cell(number: float) -> str:
    """Empty where there is no number, as the error of a single run."""
    return "" if math.isnan(number) else repr(number)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
