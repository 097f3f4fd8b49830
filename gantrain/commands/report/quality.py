"""How good the runs of a report are: means over the seeds with their intervals, and the differences of the groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gantrain.commands.comparison.compare import Comparison, compare_groups
from gantrain.commands.comparison.differences import Contrast, contrasts, tested
from gantrain.commands.comparison.groups import Group
from gantrain.commands.comparison.metrics import evaluated
from gantrain.commands.comparison.series import UNITS
from gantrain.commands.comparison.tables import seeds, verdict
from gantrain.commands.report.reading import Reading
from gantrain.errors import UserError
from gantrain.utils.statistics import Estimate

CONFIDENCE = 0.95
_ALONE = "One run has no interval over seeds: train it with other seeds, and name all runs, to get one."


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: what the table is about.
        head: the heads of the columns.
        rows: the cells, of which the first is the name of the row.
        note: a line below the table; empty for none.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(reading: Reading) -> tuple[list[Table], list[str]]:
    """The tables about how good the runs are, and lines that say why something is missing.

    All groups are compared at the cost that all have reached, if they have measured some value of quality in common.
    Otherwise those are compared that have measured the same.
    """
    groups = [group.group for group in reading.groups if any(run.values for run in group.group.runs)]
    if not groups:
        return [], ["Nothing was logged that says how good the runs are."]
    comparisons, notes = _comparisons(groups, reading.at)
    if len(groups) > 1 and (not comparisons or comparisons[0].advice):
        alike: dict[tuple[str, ...], list[Group]] = {}
        for group in groups:
            alike.setdefault(tuple(sorted(_measured(group))), []).append(group)
        apart = [_comparisons(members, reading.at) for members in alike.values()]
        comparisons, notes = (
            [one for found, _ in apart for one in found],
            [line for _, lines in apart for line in lines],
        )
        if len(alike) > 1:
            notes.append(
                "Not all groups are compared with each other, since they have measured no value of quality in common."
            )
    notes += list(dict.fromkeys(_sentence(each.advice) for each in comparisons if each.advice))
    found = [table for comparison in comparisons for table in _values(comparison)]
    return found + [table for comparison in comparisons for table in _differences(comparison)], notes


def _comparisons(groups: Sequence[Group], at: str) -> tuple[list[Comparison], list[str]]:
    """The groups compared, in one comparison or in none, and why they are not."""
    if all(run.diverged for group in groups for run in group.runs):
        return [], [f"{group.label} diverged, so that it has no value at the end." for group in groups]
    try:
        return [compare_groups(groups, None, at)], []
    except UserError as error:
        return [], [f"{', '.join(group.label for group in groups)}: {error}."]


def _measured(group: Group) -> set[str]:
    """The values of quality that all runs of a group have which did not diverge."""
    whole = [run for run in group.runs if not run.diverged] or group.runs
    return set.intersection(*(set(evaluated(run.values, [run])) for run in whole))


def interval(estimate: Estimate) -> str:
    """The interval of a mean over seeds; a dash for a single run."""
    low, high = estimate.interval(CONFIDENCE)
    return "–" if math.isnan(low) else f"{low:.4g} to {high:.4g}"


def _values(comparison: Comparison) -> list[Table]:
    if len(comparison.groups) == 1:
        return [_of_one_group(comparison)]
    found = []
    for metric, better in comparison.metrics.items():
        head = ["", "seeds", "at the end", f"{100 * CONFIDENCE:g} % interval", *(["best"] if better else [])]
        rows = []
        for group in comparison.groups:
            last, best = comparison.last(group, metric), comparison.best(group, metric)
            cells = [str(seeds(len(group.runs), comparison.diverged(group, metric), None))]
            cells += [f"{last.mean:.4g}" if last.count else "diverged", interval(last)]
            cells += [str(best)] if best is not None and best.count else [""] * bool(better)
            rows.append([group.label, *cells])
        found.append(Table(f"{metric} ({verdict(metric, better)})", head, rows))
    return [*found[:-1], replace(found[-1], note=_about(comparison))]


def _of_one_group(comparison: Comparison) -> Table:
    """A row for each value of a single group."""
    (group,) = comparison.groups
    several = len(group.runs) > 1
    rows = []
    for metric, better in comparison.metrics.items():
        last, best = comparison.last(group, metric), comparison.best(group, metric)
        cells = [f"{last.mean:.4g}" if last.count else "diverged", *([interval(last)] if several else [])]
        cells.append(str(best) if best is not None and best.count else "")
        rows.append([metric, *cells, better or "not ranked"])
    lost = sum(run.diverged for run in group.runs)
    title = f"{group.label}, {seeds(len(group.runs), lost, None)} seeds" if several else group.label
    head = ["", "at the end", *([f"{100 * CONFIDENCE:g} % interval"] if several else []), "best", "better"]
    note = _about(comparison) if several else _ALONE
    return Table(title, head, rows, note)


def _about(comparison: Comparison) -> str:
    return (
        f"“At the end” is at {comparison.cost:g} {UNITS[comparison.at]}, the most that all runs have reached that did "
        "not diverge. Intervals are of the mean over the seeds, by Student’s t; “best” is the mean of the runs’ best "
        "values with its standard error."
    )


def _differences(comparison: Comparison) -> list[Table]:
    """The differences to the first group in the first value that ranks runs."""
    metric = next((name for name, better in comparison.metrics.items() if better is not None), None)
    if metric is None or len(comparison.groups) < 2:
        return []
    first = comparison.groups[0].label
    found = [each for each in contrasts(comparison, first) if each.metric == metric]
    better = {"lower": "negative is better", "higher": "positive is better"}[str(comparison.metrics[metric])]
    rows = [[each.group, *_difference(each)] for each in tested(found, CONFIDENCE, "holm")]
    several = len(rows) > 1
    note = "Runs with the same seed are paired, and tested by the paired t test; others by Welch’s." + (
        " The p values are corrected by Holm’s method, and all intervals hold together." if several else ""
    )
    head = ["", "difference", f"{100 * CONFIDENCE:g} % interval", "p"]
    return [Table(f"{metric}: each group minus {first} ({better})", head, rows, note)]


def _difference(each: Contrast) -> list[str]:
    if each.difference is None:
        return ["none", "", ""]
    low, high = each.interval
    bounds = "–" if math.isnan(low) else f"{low:+.3g} to {high:+.3g}"
    p = "–" if math.isnan(each.p) else "< 0.0001" if each.p < 1e-4 else f"{each.p:.2g}"
    return [f"{each.difference.mean:+.4g}", bounds, p]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
