"""The table of a sweep's runs: a row is shown for each run that ends, and sweep.csv has all rows."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.commands.sweep.outcome import Outcome
from gantrain.commands.sweep.planning import PlannedRun
from gantrain.errors import UserError
from gantrain.runs import checkpoint_files
from gantrain.runs.better import read_better
from gantrain.runs.divergence import read_divergence
from gantrain.runs.last_rows import LastRows
from gantrain.utils.io import make_folder, write_csv

FILE = "sweep.csv"
# The columns of what is shown before the metrics. The name of the run comes last, since it may be long.
_HEADS = ("run", "outcome", "step", "gradients")
# The most metrics that are shown; the file has all.
_SHOWN = 2
_NONE = "-"


@dataclass(frozen=True)
class Row:
    """What is known of a run that has ended.

    Attributes:
        run: the run.
        outcome: how it ended.
        step: the number of training steps taken; None if nothing says it.
        gradients: the gradient evaluations of the player with most of them, at the last row of the log; None without a
            row.
        seconds: the seconds of training by the log, over all resumptions; None without a row.
        measured: the last values of the metrics, in the order in which they were first measured.
        losses: the last values of the losses.
    """

    run: PlannedRun
    outcome: Outcome
    step: int | None
    gradients: int | None
    seconds: float | None
    measured: dict[str, float]
    losses: dict[str, float]


def row_of(run: PlannedRun, outcome: Outcome) -> Row:
    """The row of a run that has ended, by its folder; what is damaged there is left out."""
    step, last, costs = None, None, None
    measured: dict[str, float | None] = {}
    losses: dict[str, float | None] = {}
    with suppress(UserError, OSError):
        rows = LastRows(run.folder)
        last, costs = rows.last(), rows.last("gradients/")
        found = read_divergence(run.folder) if outcome.state == "diverged" else None
        steps = [found.step] if found is not None else [*checkpoint_files.found(run.folder)]
        step = max(steps, default=None if last is None else int(last["step"]))
        measured = {name: rows.value(name) for name in read_better(run.folder)}
        losses = {name: rows.value(name) for name in rows.last("loss/") or () if name.startswith("loss/")}
    spent = [int(value) for name, value in (costs or {}).items() if name.startswith("gradients/")]
    return Row(
        run,
        outcome,
        step,
        max(spent, default=None),
        None if last is None else float(last["time"]),
        {name: value for name, value in measured.items() if value is not None},
        {name: value for name, value in losses.items() if value is not None},
    )


class Table:
    """The table of the runs of a sweep.

    Args:
        planned: all runs of the sweep.
    """

    def __init__(self, planned: Sequence[PlannedRun]):
        self._planned = planned
        self._rows: dict[Path, Row] = {}
        self._metrics: list[str] | None = None
        self._written: dict[Path, list[list[Any]]] = {}

    def add(self, run: PlannedRun, outcome: Outcome) -> list[str]:
        """Enter a run that has ended; the lines that show it, with the heads of the columns before the first."""
        row = self._rows[run.folder] = row_of(run, outcome)
        known = list(dict.fromkeys(name for each in self._rows.values() for name in each.measured))[:_SHOWN]
        heads = _short(known)
        lines = [self._line((*_HEADS, *heads, "time", "name"), heads)] if self._metrics != known else []
        self._metrics = known
        values = (f"{row.measured[name]:.4g}" if name in row.measured else _NONE for name in known)
        cells = [f"{len(self._rows)}/{len(self._planned)}", outcome.state, _text(row.step), _text(row.gradients)]
        lines.append(self._line((*cells, *values, _duration(row.seconds), run.name), heads))
        return lines + ([f"  {outcome.reason}"] if outcome.state == "failed" else [])

    def write(self) -> None:
        """Bring ``sweep.csv`` up to date in each folder that holds runs of the sweep, once one of them has ended.

        Raises:
            UserError: it cannot be written.
        """
        rows = [self._rows[run.folder] for run in self._planned if run.folder in self._rows]
        for folder, group in itertools.groupby(sorted(rows, key=lambda row: row.run.folder.parent), _parent):
            content = _sheet(list(group))
            if self._written.get(folder) != content:
                make_folder(folder)
                write_csv(folder / FILE, content)
                self._written[folder] = content

    def summary(self) -> list[str]:
        """The lines below the table: how many runs ended in which way, which failed, and what to look at next."""
        states = [row.outcome.state for row in self._rows.values()]
        counts = [f"{states.count(state)} {state}" for state in ("finished", "diverged", "failed") if state in states]
        if not counts:
            return []
        folders = sorted({str(row.run.folder.parent) for row in self._rows.values()})
        total = f"{', '.join(counts)}, of {len(self._planned)} runs"
        lines = [f"{total}; compare them with: gantrain compare {' '.join(folders)}"]
        if "diverged" in states:
            lines.append("diverged runs are not trained again, unless --retry-diverged asks for it")
        failed = [row for row in self._rows.values() if row.outcome.state == "failed"]
        if failed:
            lines.append("the same command tries the failed runs again:")
        return lines + [f"  {row.run.name}: {row.outcome.reason}" for row in failed]

    @property
    def failed(self) -> bool:
        """Whether a run failed."""
        return any(row.outcome.state == "failed" for row in self._rows.values())

    def _line(self, cells: Sequence[str], heads: Sequence[str]) -> str:
        """A line of the table, whose columns are as wide in each line."""
        count = len(str(len(self._planned)))
        widths = [2 * count + 1, len("diverged"), 8, len("gradients"), *(max(len(head), 9) for head in heads), 8]
        return "  ".join([*(f"{c:>{w}}" for c, w in zip(cells, widths, strict=False)), cells[-1]])


def _sheet(rows: Sequence[Row]) -> list[list[Any]]:
    """The rows of the file, with their header."""
    keys, measured, losses = (
        list(dict.fromkeys(name for names in each for name in names))
        for each in ([r.run.values for r in rows], [r.measured for r in rows], [r.losses for r in rows])
    )
    sheet: list[list[Any]] = [
        ["name", *keys, "seed", "outcome", "step", "gradients", "seconds", *measured, *losses, "reason"]
    ]
    for row in rows:
        sheet.append(
            [
                row.run.name,
                *(row.run.values.get(key) for key in keys),
                row.run.config.run.seed,
                row.outcome.state,
                *(row.step, row.gradients, row.seconds),
                *(row.measured.get(name) for name in measured),
                *(row.losses.get(name) for name in losses),
                row.outcome.reason,
            ]
        )
    return sheet


def _parent(row: Row) -> Path:
    return row.run.folder.parent


def _short(names: Iterable[str]) -> list[str]:
    """Names of metrics without the words in brackets, where these are not needed to tell them apart."""
    names = list(names)
    short = [name.partition("[")[0] for name in names]
    return short if len(set(short)) == len(names) else names


def _text(number: int | None) -> str:
    return _NONE if number is None else str(number)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    return f"{seconds:.1f} s" if seconds < 100 else str(datetime.timedelta(seconds=round(seconds)))
