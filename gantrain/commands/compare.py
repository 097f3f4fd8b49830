"""The compare command: runs at equal cost over their seeds, as tables, as pictures and as CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gantrain.commands.comparison import files, pictures, tables
from gantrain.commands.comparison.compare import compare
from gantrain.commands.comparison.differences import Correction, contrasts, pairs_of, tested
from gantrain.commands.comparison.grid import make_grid
from gantrain.errors import UserError
from gantrain.plotting.images import figure_to_png
from gantrain.utils.io import make_folder, write_csv


def compare_runs(
    runs: Sequence[str | Path],
    metrics: Sequence[str] | None = None,
    at: str = "gradients",
    output: str | None = None,
    over: Sequence[str] = (),
    baseline: str | None = None,
    pairs: bool = False,
    confidence: float | None = None,
    correct: Correction = "none",
    threshold: float | None = None,
    ceiling: float | None = None,
) -> str:
    """Compare runs and return the tables as text; pictures and CSV files are written into ``output`` if given.

    Args:
        runs: folders of runs, or folders of such folders.
        metrics: as in :func:`~gantrain.commands.comparison.compare.compare`.
        at: the kind of cost: "gradients", "kimg" or "step".
        output: the folder for pictures and CSV files; None for none.
        over: keys whose values the methods are compared over; empty for groups of runs.
        baseline: the label of the group to which the others are compared, or a part that no other label has.
        pairs: whether each group is compared with each other, in place of a baseline.
        confidence: the confidence of the intervals, between 0 and 1; 0.95 by default.
        correct: the correction for the number of comparisons: "none" or "holm".
        threshold: with ``over``, the value of the metric with which runs are compared.
        ceiling: the value that a diverged run counts as.

    Raises:
        UserError: the runs cannot be compared in this way, or ``output`` cannot be written.
    """
    if baseline is not None and pairs:
        raise UserError("--baseline and --pairs: choose one of the two; --pairs compares each group with each other")
    differs = baseline is not None or pairs
    if correct != "none" and not differs:
        raise UserError(f"--correct {correct}: there are no comparisons to correct; add --baseline GROUP or --pairs")
    if threshold is not None and not over:
        raise UserError("--threshold: is for runs over the values of a key; add --over KEY")
    if confidence is not None and not differs and threshold is None:
        raise UserError("--confidence: there are no intervals; add --baseline GROUP or --pairs, or --threshold")
    confidence = 0.95 if confidence is None else confidence
    comparison = compare(runs, metrics, at, ceiling)
    grid = make_grid(comparison, over, threshold) if over else None
    labels = [group.label for group in comparison.groups] if grid is None else [m.label for m in grid.methods]
    blocks = [tables.groups_table(comparison) if grid is None else tables.grid_table(grid, confidence)]
    found = None
    if differs:
        if len(labels) < 2:
            raise UserError(f"{'--pairs' if pairs else '--baseline'}: there is only one group, {labels[0]}")
        wanted = contrasts(comparison, baseline) if grid is None else grid.contrasts(baseline)
        found = tested(wanted, confidence, correct)
        if grid is not None:
            blocks.append(tables.ranges_table(grid, pairs_of(labels, baseline)))
        blocks.append(tables.differences_table(found, dict(comparison.metrics), confidence, correct))
    if output is not None:
        folder = Path(output)
        make_folder(folder)
        written = []
        if grid is None:
            figure_to_png(pictures.curves(comparison), folder / "comparison.png")
            write_csv(folder / "comparison.csv", files.summary(comparison))
            write_csv(folder / "curves.csv", files.curves(comparison))
            written.append(folder / "comparison.png")
        else:
            figure_to_png(pictures.grid(grid), folder / "grid.png")
            write_csv(folder / "grid.csv", files.points(grid))
            write_csv(folder / "methods.csv", files.methods(grid, confidence))
            written.append(folder / "grid.png")
        if found:
            styles = {each.label: each.method for each in (comparison.groups if grid is None else grid.methods)}
            write_csv(folder / "differences.csv", files.differences(found, comparison))
            if any(each.difference is not None for each in found):
                figure_to_png(pictures.differences(found, comparison.metrics, styles), folder / "differences.png")
                written.append(folder / "differences.png")
        blocks.append("\n".join(map(str, written)))
    return "\n\n".join(filter(None, blocks))
