"""Groups of runs at equal cost, which is the largest that all runs have reached that did not diverge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gantrain.commands.comparison.groups import Group, read_groups
from gantrain.commands.comparison.metrics import advice, choose_metrics, direction, evaluated, without_label
from gantrain.commands.comparison.series import UNITS, Series
from gantrain.errors import UserError
from gantrain.utils.direction import Direction
from gantrain.utils.statistics import Estimate, capped

# A group leads if it is ahead by more than so many standard errors of the difference.
LEAD = 2


@dataclass(frozen=True)
class Comparison:
    """Groups of runs at equal cost.

    Attributes:
        groups: the groups in the order in which their runs were named.
        metrics: the full names of the values that are compared, with the direction that is better; None for a value
            that ranks no runs.
        at: the kind of cost: "gradients", "kimg" or "step".
        cost: the largest cost that all runs have reached which did not diverge.
        limit: the folder of the run that has reached no more than that.
        advice: a line for the user if nothing was compared that judges the runs' quality; else empty.
        ceiling: the value that a run counts as which diverged before ``cost``, and the worst that any run counts as;
            None if such runs have no value.
    """

    groups: tuple[Group, ...]
    metrics: Mapping[str, Direction | None]
    at: str
    cost: float
    limit: Path
    advice: str = ""
    ceiling: float | None = None

    def values(self, group: Group, metric: str) -> dict[int, float | None]:
        """The values of the metric at the common cost by the seeds; None for runs that diverged before."""
        better = self.metrics[metric] or "lower"
        return {
            run.seed: capped(run.value(metric, self.cost) if run.has(metric, self.cost) else None, self.ceiling, better)
            for run in group.runs
        }

    def diverged(self, group: Group, metric: str) -> int:
        """The number of runs of the group that diverged before the common cost."""
        return sum(not run.has(metric, self.cost) for run in group.runs)

    def last(self, group: Group, metric: str) -> Estimate:
        """The metric of the group at the common cost, over the runs that have a value."""
        return Estimate.of([value for value in self.values(group, metric).values() if value is not None])

    def best(self, group: Group, metric: str) -> Estimate | None:
        """The best values of the metric up to the common cost; None if the metric ranks no runs."""
        better = self.metrics[metric]
        if better is None:
            return None
        found = (
            capped(run.best(metric, self.cost, better) if run.has(metric, self.cost) else None, self.ceiling, better)
            for run in group.runs
        )
        return Estimate.of([value for value in found if value is not None])


def compare(
    runs: Sequence[str | Path],
    metrics: Sequence[str] | None = None,
    at: str = "gradients",
    ceiling: float | None = None,
) -> Comparison:
    """Read runs and bring them to equal cost.

    Args:
        runs: folders of runs, or folders of such folders.
        metrics: names as they are logged, with or without the label in brackets, or keys as in ``evaluate.metrics``;
            by default the values that all runs have evaluated, in the order of ``EVALUATED``, or else the losses.
        at: the kind of cost: "gradients" (of the player that is evaluated most), "kimg" or "step".
        ceiling: the value that a diverged run counts as; see :func:`~gantrain.utils.statistics.capped`. None for none.

    Raises:
        UserError: there are no runs, or all have diverged; nothing that all others have logged; the same run twice; or
            a ceiling for several metrics, or for one that ranks no runs.
    """
    return compare_groups(read_groups(runs, at), metrics, at, ceiling)


def compare_groups(
    groups: Sequence[Group], metrics: Sequence[str] | None, at: str, ceiling: float | None = None
) -> Comparison:
    """Bring groups of runs, at least one, to equal cost; see :func:`compare`."""
    whole = [run for group in groups for run in group.runs if not run.diverged]
    if not whole:
        raise UserError(
            f"{groups[0].runs[0].folder}: diverged, and so did all other runs; no cost is common to any two"
        )
    chosen = choose_metrics(whole, metrics)
    limit = min(whole, key=lambda run: run.reached)
    for run in whole:
        for metric in chosen:
            if not run.has(metric, limit.reached):
                steps = "compare at equal steps with --at step, or " if _meet_at_steps(whole, chosen) else ""
                raise UserError(
                    f"{limit.folder}: has reached only {limit.reached:g} {UNITS[at]}, and {metric} of {run.folder} "
                    f"begins at {run.values[metric][0][0]:g}; {steps}leave one of the two out"
                )
    directions = {metric: direction(metric, groups) for metric in chosen}
    if ceiling is not None:
        require_one_ranked(directions, "--ceiling")
    said = advice(whole) if metrics is None and not evaluated(chosen, whole) else ""
    return Comparison(tuple(groups), directions, at, limit.reached, limit.folder, said, ceiling)


def _meet_at_steps(runs: Sequence[Series], metrics: Sequence[str]) -> bool:
    """Whether each run has taken as many training steps as any run had taken when it first measured the metrics."""
    firsts = [(run.values[metric][0][0], run.step) for run in runs for metric in metrics]
    return all(first * other.step <= other.reached * step for first, step in firsts for other in runs)


def require_one_ranked(metrics: Mapping[str, Direction | None], option: str) -> None:
    """Refuse an option that is a value of a metric, unless a single metric was chosen, and it ranks runs.

    Raises:
        UserError: several metrics are compared, or nobody says which of two values is better.
    """
    bare = sorted({without_label(metric) for metric in metrics})
    if len(bare) > 1:
        raise UserError(f"{option}: is a value of one metric, and {', '.join(bare)} are compared; choose by --metrics")
    if None in metrics.values():
        raise UserError(f"{option}: {bare[0]} ranks no runs; choose another by --metrics")


def leader(estimates: Sequence[Estimate], better: Direction | None, diverged: Sequence[int]) -> int | None:
    """The place of the estimate that is better than each other by more than the errors; None if there is none.

    Args:
        estimates: the means of the groups. Groups without a value are behind all others.
        better: the direction that is better.
        diverged: the number of runs of each group that the mean leaves out; such a group does not lead.
    """
    present = [i for i, estimate in enumerate(estimates) if estimate.count]
    if better is None or len(present) < 2 or any(math.isnan(estimates[i].error) for i in present):
        return None
    sign = 1 if better == "lower" else -1
    first, *others = sorted(present, key=lambda i: sign * estimates[i].mean)
    ahead = estimates[first]
    for other in (estimates[i] for i in others):
        if not sign * (other.mean - ahead.mean) > LEAD * math.hypot(ahead.error, other.error):
            return None
    return None if diverged[first] else first
