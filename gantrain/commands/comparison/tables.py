"""Comparisons as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gantrain.commands.comparison.compare import LEAD, Comparison, leader
from gantrain.commands.comparison.differences import Contrast, Correction, number_of_tests
from gantrain.commands.comparison.grid import Grid, Method, Point, Range
from gantrain.commands.comparison.series import UNITS
from gantrain.utils.direction import Direction
from gantrain.utils.statistics import Estimate

# Steps of which one costs so many times as much as another are unequal: beyond what an unfinished outer step explains.
_UNEQUAL = 1.1
_SINGLE = (
    "a single seed has no standard error and no interval: train two seeds at least, as with gantrain sweep --seeds 2"
)
_QUANTITIES = {
    "last": "differences",
    "best": "differences at each method's best value",
    "area": "differences of the areas over the values that both have",
}


def groups_table(comparison: Comparison) -> str:
    """The groups with their means, a block for each metric."""
    ranks = len(comparison.groups) > 1 and any(better is not None for better in comparison.metrics.values())
    lines = [
        *_heading(comparison),
        "mean ± standard error over the seeds"
        + (f"; * leads by more than {LEAD} standard errors of the difference" if ranks else ""),
        *_about_divergence(comparison),
    ]
    for metric, better in comparison.metrics.items():
        columns = {"last": [comparison.last(group, metric) for group in comparison.groups]}
        if better is not None:
            columns["best"] = [best for group in comparison.groups if (best := comparison.best(group, metric))]
        diverged = [comparison.diverged(group, metric) for group in comparison.groups]
        left_out = diverged if comparison.ceiling is None else [0] * len(diverged)
        leaders = {name: leader(estimates, better, left_out) for name, estimates in columns.items()}
        rows = [["", "seeds", *columns]]
        for row, group in enumerate(comparison.groups):
            cells = [f"{_mean(e[row])} {'*' if leaders[name] == row else ' '}" for name, e in columns.items()]
            rows.append([group.label, seeds(len(group.runs), diverged[row], comparison.ceiling), *cells])
        lines += ["", f"{metric} ({verdict(metric, better)})", *aligned(rows)]
    single = [_SINGLE] if any(len(group.runs) == 1 for group in comparison.groups) else []
    notes = [*single, *([comparison.advice] if comparison.advice else [])]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def grid_table(grid: Grid, confidence: float = 0.95) -> str:
    """The methods over the values of the keys, and what follows from them, two blocks for each metric.

    Args:
        grid: the methods.
        confidence: the confidence of the intervals of shares.
    """
    comparison = grid.comparison
    lines = [*_heading(comparison), "mean ± standard error over the seeds", *_about_divergence(comparison)]
    for metric, better in comparison.metrics.items():
        rows = [["", *map(shown, grid.values)]]
        for method in grid.methods:
            points = {id(point.value): point for point in method.points}
            by_value = [next((p for p in points.values() if p.value == value), None) for value in grid.values]
            rows.append([method.label, *(_point(comparison, metric, point) for point in by_value)])
        lines += ["", f"{metric} over {','.join(grid.keys)} ({verdict(metric, better)})", *aligned(rows)]
        if better is None:
            continue
        head = ["", "runs", "best", "at"] + ["area"] * grid.numeric
        if grid.threshold is not None:
            side = "below" if better == "lower" else "above"
            head += [f"{side} {grid.threshold:g}"] + ["tolerates"] * grid.numeric
        rows = [head, *(_judged(grid, method, metric, confidence) for method in grid.methods)]
        lines += ["", *aligned(rows)]
    return "\n".join([*lines, "", *_about_grid(grid, confidence)])


def ranges_table(grid: Grid, pairs: Sequence[tuple[int, int]]) -> str:
    """How many times larger values of the keys a method tolerates than another; empty without a threshold."""
    if grid.threshold is None or not grid.log:
        return ""
    blocks = []
    for metric in grid.comparison.metrics:
        rows = [["", "compared with", "highest tolerated", "range"]]
        for i, j in pairs:
            one, other = (grid.tolerated(grid.methods[k], metric) for k in (i, j))
            cells = ["", ""]
            if one and other:
                # A range that the grid cuts off may be larger than it seems.
                tops = _at_least(one.open_high, other.open_high)
                both = _at_least(one.open_low or one.open_high, other.open_low or other.open_high)
                ratio = grid.width(one.low, one.high) / grid.width(other.low, other.high)
                cells = [f"{tops}{one.high / other.high:.3g} times", f"{both}{ratio:.3g} times"]
            elif one or other:
                cells = [f"{(grid.methods[j] if one else grid.methods[i]).label} tolerates none", ""]
            rows.append([grid.methods[i].label, grid.methods[j].label, *cells])
        blocks.append("\n".join([f"{metric}: ratios of the ranges of {','.join(grid.keys)}", *aligned(rows)]))
    return "\n\n".join(blocks)


def differences_table(
    found: Sequence[Contrast], metrics: dict[str, Direction | None], confidence: float, correct: Correction
) -> str:
    """The differences with their intervals, a block for each metric and quantity.

    Args:
        found: the differences, tested.
        metrics: the direction that is better by the metrics.
        confidence: the confidence that was asked for.
        correct: the correction that was asked for.
    """
    blocks = []
    for metric, quantity in dict.fromkeys((each.metric, each.quantity) for each in found):
        rows = [["", "minus", "difference", f"{100 * confidence:g} % interval", "pairs", "p"]]
        notes: list[str] = []
        better = metrics[metric]
        negative = {"lower": "negative is better", "higher": "positive is better", None: "not ranked"}[better]
        for each in found:
            if (each.metric, each.quantity) == (metric, quantity):
                rows.append(_difference(each))
                notes += [note for note in each.notes if note not in notes and not note.endswith("test")]
        lines = [f"{metric}: {_QUANTITIES[quantity]} ({negative})", *aligned(rows), *(f"  {note}" for note in notes)]
        blocks.append("\n".join(lines))
    lines = ["pairs: runs with the same seed, paired t test"]
    if any(each.difference is not None and not each.difference.paired for each in found):
        lines.append("a + b: runs of groups without common seeds, Welch's t test")
    count = number_of_tests(found)
    if not count:
        lines.append("no difference can be tested: an interval takes two pairs of seeds at least")
    elif correct == "holm":
        each_one = next((each.confidence for each in found), confidence)
        lines.append(
            f"p adjusted by Holm for {count} comparisons; the intervals hold together with {100 * confidence:g} % "
            f"(Bonferroni: each with {100 * each_one:.4g} %)"
        )
    elif count > 1:
        lines.append(f"{count} comparisons, not corrected for their number; see --correct holm")
    return "\n\n".join([*blocks, "\n".join(lines)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column is aligned on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]


def seeds(count: int, diverged: int, ceiling: float | None) -> str:
    """The number of runs of which a mean is, such as ``3 of 5, 2 diverged``."""
    if not diverged:
        return str(count)
    return (
        f"{count} of {count}, {diverged} as ceiling"
        if ceiling is not None
        else (f"{count - diverged} of {count}, {diverged} diverged")
    )


def shown(value: object) -> str:
    """A value of a key as the head of a column."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        name = value.get("name")
        others = [f"{k}={shown(v)}" for k, v in value.items() if k != "name"]
        return "-".join([*([shown(name)] if name is not None else []), *others])
    return str(value).lower() if isinstance(value, bool) else str(value)


def verdict(metric: str, better: Direction | None) -> str:
    """Which values of a metric are better, or why none is."""
    if better is not None:
        return f"{better} is better" + (", on the training batches" if metric.startswith("loss/") else "")
    if metric.startswith("loss/"):
        return "not ranked: the loss of a game does not say which run is better"
    return "not ranked: nobody says which of two values is better"


def _heading(comparison: Comparison) -> list[str]:
    runs = [run for group in comparison.groups for run in group.runs]
    whole = " that did not diverge" if any(run.diverged for run in runs) else ""
    lines = [
        f"at {comparison.cost:g} {UNITS[comparison.at]}, the most that all runs{whole} have reached "
        f"({comparison.limit}); interpolated between measurements"
    ]
    costs = [run.step for run in runs if not run.diverged]
    if max(costs) > _UNEQUAL * min(costs):
        lines.append(
            f"a training step costs {min(costs):.3g} to {max(costs):.3g} {UNITS[comparison.at]}, by the run; --at step "
            "compares at equal steps"
        )
    return lines


def _about_divergence(comparison: Comparison) -> list[str]:
    if not any(comparison.diverged(group, metric) for group in comparison.groups for metric in comparison.metrics):
        return []
    if comparison.ceiling is not None:
        return [f"a run that diverged counts as {comparison.ceiling:g}, and so does any value that is worse"]
    return ["means are of the runs that did not diverge; --ceiling VALUE says what a diverged run counts as"]


def _mean(estimate: Estimate) -> str:
    return str(estimate) if estimate.count else "diverged"


def _point(comparison: Comparison, metric: str, point: Point | None) -> str:
    if point is None:
        return ""
    diverged, count = comparison.diverged(point.group, metric), len(point.group.runs)
    if diverged == count and comparison.ceiling is None:
        return f"{diverged} diverged"
    return _mean(comparison.last(point.group, metric)) + (f" ({diverged} of {count} diverged)" if diverged else "")


def _judged(grid: Grid, method: Method, metric: str, confidence: float) -> list[str]:
    """A row about a method: its runs, its best value, its area, and how it stands to the threshold."""
    diverged = grid.diverged(method, metric)
    runs = f"{sum(len(point.group.runs) for point in method.points)}" + (f", {diverged} diverged" if diverged else "")
    best = grid.best(method, metric)
    cells = [method.label, runs]
    if best is None:
        cells += ["", "none: a run diverged at each value"]
    else:
        edge = grid.edge(method, best)
        cells += [str(grid.comparison.last(best.group, metric)), shown(best.value)]
        cells[-1] += f", edge of the grid: extend it {edge}" if edge else ""
    if grid.numeric:
        area = grid.area(method, metric)
        cells.append("needs --ceiling" if area is None else f"{area:.4g}")
    if grid.threshold is not None:
        share = grid.share(method, metric)
        low, high = share.interval(confidence)
        cells.append(f"{share} ({100 * low:.0f} to {100 * high:.0f} %)")
        if grid.numeric:
            cells.append(_tolerated(grid, grid.tolerated(method, metric)))
    return cells


def _tolerated(grid: Grid, found: Range | None) -> str:
    if found is None:
        return "none"
    cut = " or more" if found.open_low or found.open_high else ""
    if found.low == found.high:
        return f"{found.low:g} only" + (" (edge of the grid)" if cut else "")
    width = f"{found.high / found.low:.3g}x" if grid.log else f"{found.high - found.low:g} wide"
    return f"{found.low:g} to {found.high:g}, {width}{cut}"


def _about_grid(grid: Grid, confidence: float) -> list[str]:
    lines = []
    if grid.numeric:
        scale = "logarithmic" if grid.log else "linear"
        lines.append(f"area: the mean height over each method's grid by the trapezoid rule, {scale} in {grid.keys[0]}")
    if grid.threshold is not None:
        lines.append(
            f"below or above {grid.threshold:g}: how many of all runs, also of those that diverged, with Wilson's "
            f"{100 * confidence:g} % interval of the share"
        )
        if grid.numeric:
            lines.append(
                "tolerates: the widest row of neighbouring values whose means are all on the better side of it"
            )
    lines.append("the best value was chosen with these runs: report its mean with other seeds")
    return lines


def _at_least(one: bool, other: bool) -> str:
    """What a ratio of two ranges is, each of which may be cut off by its grid."""
    return "unknown, here " if one and other else "at least " if one else "at most " if other else ""


def _difference(each: Contrast) -> list[str]:
    if each.difference is None:
        return [each.group, each.baseline, "none", "", "", ""]
    one, other = each.difference.counts
    low, high = each.interval
    interval = "" if math.isnan(low) else f"{low:+.3g} to {high:+.3g}"
    pairs = str(one) if each.difference.paired else f"{one} + {other}"
    p = "" if math.isnan(each.p) else "<0.0001" if each.p < 1e-4 else f"{each.p:.2g}"
    return [each.group, each.baseline, f"{each.difference.mean:+.4g}", interval, pairs, p]
