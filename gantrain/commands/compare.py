"""Groups of runs that differ only in the seed, compared at a cost that all runs have reached."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.config.base import nearest, one_of
from gantrain.config.metrics import METRICS, value_names
from gantrain.config.paths import nothing_at
from gantrain.config.shipped import is_missing
from gantrain.data.digest import Digest, difference
from gantrain.errors import UserError
from gantrain.runs.better import Direction, read_better
from gantrain.runs.data_record import recorded_digest
from gantrain.runs.folder import CHANGEABLE, comparable_config, is_run
from gantrain.runs.monitor import read_metrics
from gantrain.utils.nested import flatten

# The values that evaluations log, by their names without the label in brackets, and which of two is the better one. A
# comparison shows them in this order.
EVALUATED: dict[str, Direction] = {
    name: "lower" if value.lower_is_better else "higher"
    for metric in METRICS.values()
    for value in metric.values
    for name in value.names
} | {"validation/accuracy": "higher", "validation/loss": "lower"}
# Keys of the section data that do not say which samples there are.
_NOT_OF_THE_DATA = ("batch_size", "accumulation", "storage", "workers")
# A group leads if it is ahead by more than so many standard errors of the difference.
LEAD = 2
UNITS = {"gradients": "gradient evaluations", "kimg": "thousand samples", "step": "training steps"}


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
        better: "lower" or "higher" by the names of those values for which the run recorded it.
    """

    folder: Path
    seed: int
    reached: float
    values: Mapping[str, tuple[np.ndarray, np.ndarray]]
    better: Mapping[str, Direction] = field(default_factory=dict)

    def value(self, metric: str, cost: float) -> float:
        """The value at a cost, interpolated linearly; beyond the last measurement it is the last value."""
        return float(np.interp(cost, *self.values[metric]))

    def best(self, metric: str, cost: float, better: Direction) -> float:
        """The best value up to a cost."""
        costs, values = self.values[metric]
        seen = [*values[costs <= cost].tolist(), self.value(metric, cost)]
        return max(seen) if better == "higher" else min(seen)


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed.

    Attributes:
        label: the name of the group in tables and pictures.
        method: the name of the outer loop, which decides the colour.
        game: the game without what belongs to its players, as text: groups with the same game minimise the same.
        runs: the runs in ascending order of their seeds.
    """

    label: str
    method: str
    game: str
    runs: tuple[Series, ...]

    def curve(self, metric: str) -> tuple[np.ndarray, list[Estimate]]:
        """The costs at which some run measured the metric, within the range that all runs share, and the estimates."""
        measured = [run.values[metric][0] for run in self.runs]
        first, last = max(costs[0] for costs in measured), min(costs[-1] for costs in measured)
        costs = np.unique(np.concatenate(measured))
        costs = costs[(costs >= first) & (costs <= last)]
        return costs, [Estimate.of([run.value(metric, cost) for run in self.runs]) for cost in costs]


@dataclass(frozen=True)
class _Member:
    """A run of a group that is being made: its values, its config and the digest of its data."""

    series: Series
    config: dict[str, Any]
    digest: Digest | None

    def has_same_data(self, other: _Member) -> bool:
        return self.digest is None or other.digest is None or difference(self.digest, other.digest) is None


@dataclass(frozen=True)
class Comparison:
    """Groups of runs at equal cost.

    Attributes:
        groups: the groups in the order in which their runs were named.
        metrics: the full names of the values that are compared, with the direction that is better; None for a value
            that ranks no runs.
        at: the kind of cost: "gradients", "kimg" or "step".
        cost: the largest cost that all runs have reached.
        limit: the folder of the run that has reached no more than that.
        advice: a line for the user if nothing was compared that judges the runs' quality; else empty.
    """

    groups: tuple[Group, ...]
    metrics: Mapping[str, Direction | None]
    at: str
    cost: float
    limit: Path
    advice: str = ""

    def last(self, group: Group, metric: str) -> Estimate:
        """The metric of the group at the common cost."""
        return Estimate.of([run.value(metric, self.cost) for run in group.runs])

    def best(self, group: Group, metric: str) -> Estimate | None:
        """The best values of the metric up to the common cost; None if the metric ranks no runs."""
        better = self.metrics[metric]
        return None if better is None else Estimate.of([run.best(metric, self.cost, better) for run in group.runs])


def compare(runs: Sequence[str | Path], metrics: Sequence[str] | None = None, at: str = "gradients") -> Comparison:
    """Read runs and bring them to equal cost.

    Args:
        runs: folders of runs, or folders of such folders.
        metrics: names as they are logged, with or without the label in brackets, or keys as in ``evaluate.metrics``;
            by default the values that all runs have evaluated, in the order of ``EVALUATED``, or else the losses.
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
    directions = {metric: _direction(metric, groups) for metric in chosen}
    advice = _advice(all_runs) if metrics is None and _evaluated(chosen, all_runs) == [] else ""
    return Comparison(tuple(groups), directions, at, limit.reached, limit.folder, advice)


def _direction(metric: str, groups: Sequence[Group]) -> Direction | None:
    """Which of two values of a metric is the better one; None where neither is, as of the losses of a game.

    A player's loss depends on how well its opponents play. The loss of an only player ranks runs of the same game.
    """
    if metric.startswith("loss/"):
        losses = {name for g in groups for run in g.runs for name in run.values if name.startswith("loss/")}
        return "lower" if losses == {metric} and len({group.game for group in groups}) == 1 else None
    recorded = {run.better[metric] for group in groups for run in group.runs if metric in run.better}
    if len(recorded) == 1:
        return recorded.pop()
    return None if recorded else EVALUATED.get(_without_label(metric))


def leader(estimates: Sequence[Estimate], better: Direction | None) -> int | None:
    """The place of the estimate that is better than each other by more than the errors; None if there is none."""
    if better is None or len(estimates) < 2 or any(math.isnan(estimate.error) for estimate in estimates):
        return None
    sign = 1 if better == "lower" else -1
    first, *others = sorted(range(len(estimates)), key=lambda i: sign * estimates[i].mean)
    ahead = estimates[first]
    for other in (estimates[i] for i in others):
        if not sign * (other.mean - ahead.mean) > LEAD * math.hypot(ahead.error, other.error):
            return None
    return first


def _advice(runs: Sequence[Series]) -> str:
    lacking = next((run for run in runs if not _evaluated(run.values, [run])), runs[0])
    return (
        f"no metric of quality was measured in all runs ({lacking.folder}); set evaluate: in their configs, or measure "
        "checkpoints with gantrain eval RUN"
    )


def _groups(runs: Sequence[str | Path], at: str) -> list[Group]:
    """The runs in groups of one config, each with a label of its own."""
    by_config: dict[str, list[list[_Member]]] = {}
    for folder in _run_folders(runs):
        config = comparable_config(folder)
        member = _Member(_series(folder, config["run"]["seed"], at), config, _digest(folder))
        alike = by_config.setdefault(_without_seed(config), [])
        same = next((members for members in alike if members[0].has_same_data(member)), None)
        if same is None:
            alike.append([member])
        else:
            same.append(member)
    if not by_config:
        raise UserError("no run to compare; name the folder of a run, or of runs")
    groups = []
    for members in itertools.chain(*by_config.values()):
        members.sort(key=lambda member: member.series.seed)
        series = tuple(member.series for member in members)
        for one, two in itertools.pairwise(series):
            if one.seed == two.seed:
                raise UserError(
                    f"{one.folder} and {two.folder}: have the same config and the same seed, {one.seed}; leave one out"
                )
        first, config = series[0], members[0].config
        groups.append(Group(_label(config, first.folder), _method(config), _game(config, first), series))
    labels = [group.label for group in groups]
    return [g if labels.count(g.label) == 1 else replace(g, label=f"{g.label} ({g.runs[0].folder})") for g in groups]


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


def _digest(folder: Path) -> Digest | None:
    """The digest of the data of a run, wherever they lay; None without a whole record."""
    try:
        return recorded_digest(folder)
    except (OSError, ValueError, RecursionError):
        return None


def _label(config: Mapping[str, Any], folder: Path) -> str:
    return re.sub(r"[-_,. ]?seed[-_= ]?\d+$", "", config["run"]["name"]) or folder.resolve().parent.name


def _method(config: Mapping[str, Any]) -> str:
    outer = config.get("outer")
    return str((outer.get("name") or outer.get("target")) if isinstance(outer, Mapping) else outer)


def _game(config: Mapping[str, Any], run: Series) -> str:
    """The game without the sections of its players, and the data, as text."""
    game = config.get("game")
    players = {name.removeprefix("loss/") for name in run.values if name.startswith("loss/")}
    kept = {key: v for key, v in game.items() if key not in players} if isinstance(game, Mapping) else game
    data = {key: v for key, v in (config.get("data") or {}).items() if key not in _NOT_OF_THE_DATA}
    return json.dumps([kept, data], sort_keys=True, default=repr)


def _series(folder: Path, seed: int, at: str) -> Series:
    rows = read_metrics(folder)
    # Each step costs as much as the next, so that costs between the steps that are logged lie on a straight line.
    logged = [(row["step"], _cost(row, at, folder)) for row in rows if {"kimg", "outer_steps"} & row.keys()]
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
    return Series(folder, seed, cost(rows[-1]["step"]), columns, read_better(folder))


def _cost(row: Mapping[str, float], at: str, folder: Path) -> float:
    if at == "kimg" and "kimg" not in row:
        raise UserError(f"{folder}: a run without data sees no samples; compare at gradients or step")
    found = [v for name, v in row.items() if (name.startswith("gradients/") if at == "gradients" else name == at)]
    if not found or not all(map(math.isfinite, found)):
        raise UserError(
            f"{folder}/metrics.jsonl: the row of step {row['step']} does not say its {at}; leave the run out"
        )
    return max(found)


def _nothing_in_common(runs: Sequence[Series]) -> str:
    """The message about runs of which none of the metrics, and no loss, is every run's."""
    first = runs[0]
    own = [name for name in first.values if name in _evaluated(first.values, [first]) or name.startswith("loss/")]
    other = next((run for run in runs if not any(name in run.values for name in own)), runs[-1])
    return (
        f"{other.folder}: has none of the metrics and losses of {first.folder} ({', '.join(own) or 'none'}); compare "
        "runs of the same game, or name what all have logged with --metrics"
    )


def _choose_metrics(runs: Sequence[Series], metrics: Sequence[str] | None) -> tuple[str, ...]:
    """The full names of the metrics that are compared."""
    common = [name for name in runs[0].values if all(name in run.values for run in runs)]
    if metrics is None:
        chosen = _evaluated(common, runs) or [name for name in common if name.startswith("loss/")]
        if not chosen:
            raise UserError(_nothing_in_common(runs))
        return tuple(chosen)
    chosen = []
    for metric in metrics:
        fitting = [name for name in common if _is_meant(metric, name)]
        if not fitting:
            lacking = next((run for run in runs if not any(_is_meant(metric, n) for n in run.values)), runs[0])
            known = nearest(metric, map(_without_label, lacking.values))
            raise UserError(f"{lacking.folder}: has logged no {metric}; expected {one_of(lacking.values)}{known}")
        chosen += [name for name in fitting if name not in chosen]
    if not chosen:
        raise UserError("--metrics: expected the name of a metric, as in --metrics fid,isc")
    return tuple(chosen)


def _evaluated(names: Iterable[str], runs: Sequence[Series]) -> list[str]:
    """Those of the names of logged values that say how good a run is.

    The values that evaluations log come first, in the order of their table, and then those for which a run has recorded
    which direction is better.
    """
    order = list(EVALUATED)
    measured = sorted(
        (n for n in names if _without_label(n) in EVALUATED), key=lambda n: order.index(_without_label(n))
    )
    return measured + [n for n in names if n not in measured and any(n in run.better for run in runs)]


def _is_meant(word: str, name: str) -> bool:
    """Whether a word stands for a logged value: its name, or that of a metric, with labels such as [ema] or without."""
    bare, label = _without_label(word), word.removeprefix(_without_label(word))
    return _without_label(name) in (bare, *value_names(bare)) and label in name


def _without_label(name: str) -> str:
    """The name of a value without the labels in brackets: of the features, and of the weights."""
    return name.partition("[")[0]
