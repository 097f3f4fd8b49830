"""How the training of a run went, in plain words: its state, its quality, the signs of trouble, its game."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.commands.comparison.metrics import EVALUATED, evaluated, without_label
from gantrain.commands.comparison.series import UNITS
from gantrain.commands.report.reading import ReportedRun
from gantrain.errors import UserError
from gantrain.runs.folder import BEST
from gantrain.runs.records import read_record
from gantrain.train.callbacks.signs import SIGNS
from gantrain.utils.direction import Direction

# A value is worse than the best one, or better than the one before, if it differs by this share of it.
_CLEARLY = 0.1
_STATES = {
    "running": "It is being trained at this moment",
    "running?": "A process on another host holds its lock, so that it may be training",
    "finished": "It has used up its budget",
    "stopped": "It was stopped before its budget was used up, and gantrain train --resume goes on with it",
    "not saved": "It has no checkpoint yet",
    "being deleted": "It is being deleted",
    "damaged": "Its folder is damaged",
}
_DIAGNOSIS = re.compile("step_([0-9]{1,18})")
# The sentences of a diagnosis are no longer than this, in a folder that gantrain wrote.
_LONGEST = 500


@dataclass(frozen=True)
class Remark:
    """A sentence about the training of a run.

    Attributes:
        text: the sentence.
        quiet: whether it need not be said where there are several runs.
    """

    text: str
    quiet: bool = False


def words(run: ReportedRun, at: str) -> list[Remark]:
    """Sentences about the training of a run.

    Args:
        run: the run.
        at: the kind of cost in which the run was read.
    """
    return [*_state(run), *_quality(run, at), *_signs(run), *_game(run.folder)]


def were_sought(run: ReportedRun) -> bool:
    """Whether signs of trouble were looked for while the run was trained."""
    return any(f"advice/{sign.name}" in run.series.values for sign in SIGNS)


def _state(run: ReportedRun) -> Iterator[Remark]:
    found = run.summary
    if found.state == "diverged":
        reason = found.note.removeprefix(f"step {found.step}: ")
        yield Remark(f"The training diverged at step {found.step}: {reason}.")
    else:
        far = "" if found.step is None else f": step {found.step}" + (f" of {found.steps}" if found.steps else "")
        note = f" {found.note}." if found.note else ""
        yield Remark(f"{_STATES[found.state]}{far}.{note}", quiet=found.state == "finished" and not note)
    if run.note:
        yield Remark(f"{run.note}.")


def _quality(run: ReportedRun, at: str) -> Iterator[Remark]:
    """Whether the value by which the run is judged was still getting better at the end."""
    names = evaluated(run.series.values, [run.series])
    if not names:
        return
    name = names[0]
    better: Direction | None = run.series.better.get(name) or EVALUATED.get(without_label(name))
    costs, values = run.series.values[name]
    if better is None or len(values) < 2:
        return
    place = int(values.argmin() if better == "lower" else values.argmax())
    best, last = float(values[place]), float(values[-1])
    when = f"{costs[place]:g} {UNITS[at]}"
    scale = max(abs(best), float(np.finfo(float).tiny))
    if place == len(values) - 1:
        before = float(values[-2])
        more = " It was still getting better, so that more training may help." * (abs(best - before) > _CLEARLY * scale)
        yield Remark(f"{name} was best at the end, at {best:.4g}.{more}", quiet=True)
    elif abs(last - best) > _CLEARLY * scale:
        there = f" The checkpoint in the folder {BEST} is the better one." if (run.folder / BEST).is_dir() else ""
        yield Remark(f"{name} was best at {when}, at {best:.4g}, and has become worse: {last:.4g}.{there}")
    else:
        yield Remark(f"{name} was best at {when}, at {best:.4g}, and ended about as good: {last:.4g}.", quiet=True)


def _signs(run: ReportedRun) -> Iterator[Remark]:
    """The signs of trouble that gantrain looked for while it trained, in its own words."""
    if not were_sought(run):
        return
    looks = {sign.name: run.series.values.get(f"advice/{sign.name}") for sign in SIGNS}
    parts = _parts(run.content)
    now = [sign for sign in SIGNS if (found := looks[sign.name]) is not None and found[1][-1] == 1]
    for sign in now:
        values = [v for name, (_, v) in run.series.values.items() if without_label(name) == sign.value]
        measured = run.series.values.get(f"advice/{sign.value}")
        number = measured[1][-1] if measured is not None else values[0][-1] if values else None
        line = sign.line(float(number), parts) if number is not None else f"{sign.name}: {sign.means}"
        yield Remark(f"A sign of trouble at the end, {line}.")
    past = [sign for sign in SIGNS if (found := looks[sign.name]) is not None and sign not in now and found[1].any()]
    for sign in past:
        yield Remark(f"A sign of trouble that came and went, {sign.name}: {sign.means}.")
    if not now and not past:
        yield Remark("No sign of collapse, of memorisation or of a discriminator that overfits was seen.", quiet=True)


def _parts(content: Mapping[str, Any]) -> set[str]:
    """The names of the parts that the game has already, which are not advised again."""
    game = content.get("game")
    lists = [value for value in game.values() if isinstance(value, list)] if isinstance(game, Mapping) else []
    return {str(part["name"]) for parts in lists for part in parts if isinstance(part, Mapping) and "name" in part}


def _game(folder: Path) -> Iterator[Remark]:
    """What ``gantrain diagnose`` has found in plain words, at the latest step at which it was asked."""
    steps = [int(match[1]) for path in folder.glob("diagnosis/*") if (match := _DIAGNOSIS.fullmatch(path.name))]
    if not steps:
        return
    step = max(steps)
    try:
        found = read_record(folder / "diagnosis" / f"step_{step}" / "report.json")
    except (OSError, UserError):
        return
    plain = found.get("plain") if isinstance(found, Mapping) else None
    if isinstance(plain, list) and all(isinstance(one, str) and len(one) <= _LONGEST for one in plain):
        yield Remark(f"gantrain diagnose, at step {step}: {' '.join(plain)}")
