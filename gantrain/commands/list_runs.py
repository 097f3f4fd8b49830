"""The list command: the runs in folders, each with its state, step, best metric and time."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gantrain.config.paths import nothing_at
from gantrain.config.shipped import RUNS, is_missing
from gantrain.errors import UserError
from gantrain.runs.folder import is_run_of_any_kind
from gantrain.runs.summary import Summary, as_plain, summarise
from gantrain.utils.json_text import json_text

_HEADS = ("run", "state", "step", "best", "last", "time", "changed")


def list_runs(folders: Sequence[str | Path], sort: str = "name") -> list[Summary]:
    """The summaries of all runs in folders, and in the folders inside these.

    Args:
        folders: folders of runs, of sweeps, or of both; or single runs.
        sort: "name"; "changed", the newest last; or "state".

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            what = nothing_at(folder) if is_missing(folder) else "is no folder"
            raise UserError(f"{folder}: {what}; expected a folder of runs, such as checkpoints")
        try:
            os.scandir(folder).close()
        except OSError as error:
            raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
        for run in _runs(folder, set()):
            found.setdefault(run.resolve(), run)
    keys: dict[str, Callable[[Summary], Any]] = {
        "name": lambda run: _natural(run.folder),
        "changed": lambda run: run.changed or 0.0,
        "state": lambda run: (run.state, _natural(run.folder)),
    }
    return sorted(map(summarise, found.values()), key=keys[sort])


def usual_folders() -> list[str]:
    """The folders that are searched where none is named: ``checkpoints``, or none before the first run."""
    return [] if is_missing(RUNS) else [RUNS]


def no_runs(folders: Sequence[str]) -> str:
    """A line that says that there are no runs, and how to make the first one if no folder was named."""
    if folders:
        return f"no runs in {', '.join(folders)}"
    return f"no runs in {RUNS} yet; to make one: gantrain train configs/quickstart.yaml"


def table(runs: Sequence[Summary]) -> str:
    """The runs as lines for a terminal, and below them what is wrong with some."""
    rows = [_HEADS, *map(_cells, runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{_shown(run.folder)}: {run.note}" for run in runs if run.note]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def as_json(runs: Sequence[Summary]) -> str:
    """The runs as JSON; the keys are the attributes of :class:`~gantrain.runs.summary.Summary`."""
    return json_text(list(map(as_plain, runs)))


def _runs(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The runs in a folder and below; a run is not searched for others, and neither are hidden folders."""
    real = folder.resolve()
    if real in seen:  # a link led back
        return
    seen.add(real)
    try:
        if is_run_of_any_kind(folder):
            yield folder
            return
        inside = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:  # nothing of it can be seen, so it is no run that anybody could go on with
        return
    for name in inside:
        yield from _runs(folder / name, seen)


def _cells(run: Summary) -> tuple[str, ...]:
    state = run.state + (f" ({run.holder})" if run.holder else "")
    step = "" if run.step is None else str(run.step) + (f"/{run.steps}" if run.steps else "")
    if run.done is not None:
        step += f" {int(100 * run.done)}%"
    best = "" if run.best is None else f"{run.metric} {run.best:.4g} at {run.best_step}"
    last = "" if run.last is None else f"{run.last:.4g}"
    seconds = "" if run.seconds is None else str(datetime.timedelta(seconds=round(run.seconds)))
    changed = "" if run.changed is None else f"{datetime.datetime.fromtimestamp(run.changed):%Y-%m-%d %H:%M}"
    return _shown(run.folder), state, step, best, last, seconds, changed


def _shown(folder: Path) -> str:
    """The path of a run on one line."""
    return str(folder) if str(folder).isprintable() else repr(str(folder))


def _natural(folder: Path) -> list[tuple[int, str]]:
    """A sort key under which seed=2 comes before seed=10."""
    words = re.split(r"(\d+)", str(folder))
    return [(int(word), "") if word.isdecimal() and len(word) < 100 else (0, word) for word in words]
