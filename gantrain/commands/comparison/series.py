"""The logged values of a run over its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gantrain.errors import UserError
from gantrain.runs.better import read_better
from gantrain.runs.divergence import read_divergence
from gantrain.runs.last_rows import METRICS
from gantrain.runs.monitor import read_metrics
from gantrain.utils.direction import Direction

# The squares of larger values, of which standard errors are made, are beyond what a number can hold.
_LARGEST = 1e150
UNITS = {"gradients": "gradient evaluations", "kimg": "thousand samples", "step": "training steps"}


class NoSuchCost(UserError):
    """A run has no cost of the kind in which it was to be read, however long it is trained."""


@dataclass(frozen=True)
class Series:
    """The logged values of a run over its cost.

    Attributes:
        folder: the folder of the run.
        seed: the seed of the run.
        reached: the cost of the run so far.
        values: metric -> (costs, values), ascending in cost, without values that are not finite or beyond any use.
        better: "lower" or "higher" by the names of those values for which the run recorded it.
        diverged: whether the training ended because it diverged.
        step: the cost of a step. A run whose budget is no multiple of it ends beyond, and is measured there.
    """

    folder: Path
    seed: int
    reached: float
    values: Mapping[str, tuple[np.ndarray, np.ndarray]]
    better: Mapping[str, Direction] = field(default_factory=dict)
    diverged: bool = False
    step: float = 0.0

    def has(self, metric: str, cost: float) -> bool:
        """Whether the run has a value of the metric at a cost: one that diverged before has none."""
        if metric not in self.values or self.reached < cost:
            return False
        first = self.values[metric][0][0]
        return bool(first <= cost or first - self.step < cost)

    def value(self, metric: str, cost: float) -> float:
        """The value at a cost, interpolated linearly; beyond the last measurement it is the last value."""
        return float(np.interp(cost, *self.values[metric]))

    def best(self, metric: str, cost: float, better: Direction) -> float:
        """The best value up to a cost."""
        costs, values = self.values[metric]
        seen = [*values[costs <= cost].tolist(), self.value(metric, cost)]
        return max(seen) if better == "higher" else min(seen)


def read_series(folder: Path, seed: int, at: str) -> Series:
    """Read the log of a run.

    Args:
        folder: the folder of the run.
        seed: the seed of the run.
        at: the kind of cost, a key of ``UNITS``.

    Raises:
        NoSuchCost: the run has no cost of this kind.
        UserError: the log is damaged or does not say its cost; or it is empty, and the run did not diverge.
    """
    diverged = read_divergence(folder) is not None
    rows = read_metrics(folder) if not diverged or (folder / METRICS).exists() else []
    # Each step costs as much as the next, so that costs between the steps that are logged lie on a straight line.
    logged = [(row["step"], _cost(row, at, folder)) for row in rows if {"kimg", "outer_steps"} & row.keys()]
    if not logged and diverged:
        return Series(folder, seed, 0, {}, read_better(folder), diverged)
    if not logged:
        raise UserError(f"{folder}: has logged no step yet; leave the run out")
    steps, costs = np.array([(0, 0), *logged], dtype=float).T
    if steps[-1] == 0 or (np.diff(steps) < 0).any() or (np.diff(costs) < 0).any():
        raise UserError(
            f"{folder}/metrics.jsonl: steps or their {at} do not go up; it is damaged, so leave the run out"
        )
    slope = costs[-1] / steps[-1]
    measured = np.array([row["step"] for row in rows], dtype=float)
    spent = np.where(measured > steps[-1], slope * measured, np.interp(measured, steps, costs)).tolist()
    values: dict[str, list[tuple[float, float]]] = {}
    for row, cost in zip(rows, spent, strict=True):
        for name, value in row.items():
            if name not in ("step", "time") and abs(value) < _LARGEST:  # which NaN is not
                values.setdefault(name, []).append((cost, value))
    columns = {}
    for name, pairs in values.items():
        costs_of, numbers = np.array(pairs, dtype=float).T
        columns[name] = costs_of, numbers
    return Series(folder, seed, spent[-1], columns, read_better(folder), diverged, slope)


def _cost(row: Mapping[str, float], at: str, folder: Path) -> float:
    if at == "kimg" and "kimg" not in row:
        raise NoSuchCost(f"{folder}: a run without data sees no samples; choose --at gradients or --at step")
    found = [v for name, v in row.items() if (name.startswith("gradients/") if at == "gradients" else name == at)]
    if not found or not all(map(math.isfinite, found)):
        raise UserError(
            f"{folder}/metrics.jsonl: the row of step {row['step']} does not say its {at}; leave the run out"
        )
    return max(found)
