"""A run in a few words: whether it trains, how far it is, and how good. Nothing that its config names is imported."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gantrain.config import yaml_files
from gantrain.config.loading import validate
from gantrain.config.sections import Run
from gantrain.errors import UserError
from gantrain.runs import checkpoint_files, lock
from gantrain.runs.budget import is_over, share_done
from gantrain.runs.divergence import read_divergence
from gantrain.runs.folder import (
    BEST,
    CONFIG,
    configs_of,
    has_other_config,
    is_being_deleted,
    other_config,
)
from gantrain.runs.last_rows import METRICS, LastRows

State = Literal["running", "running?", "finished", "diverged", "stopped", "not saved", "being deleted", "damaged"]
# The sections of a config that are read. The others may be long, and reading YAML takes time.
_SECTION = re.compile(r"^(?:run|data):.*\n(?:(?:[ #].*)?\n)*", re.MULTILINE)


@dataclass
class Summary:
    """What the folder of a run says about the run.

    Attributes:
        folder: the folder of the run.
        state: ``running``; ``running?``, if a process on another host holds the lock, whose life cannot be looked up;
            ``finished``, if the budget is used up at the newest checkpoint; ``diverged``, if the training ended because
            it diverged; ``stopped``, if ``--resume`` goes on from
            the newest checkpoint; ``not saved``, if there is no checkpoint yet; ``being deleted``; or ``damaged``.
        holder: the process that holds the lock of a run that is running, and its host; else empty.
        step: the number of training steps: of the last row for a running run, and else of the newest checkpoint.
        steps: the number of steps after which the run ends; None if its budget is another.
        done: the share of the budget that is used up, from 0 to 1; None where it is not known.
        metric: the name of the value by which the best checkpoint was chosen; None if nothing was evaluated.
        best: the value of the best checkpoint.
        best_step: the step of the best checkpoint.
        higher_is_better: whether a higher value of this metric is better than a lower one.
        last: the last value of the metric.
        seconds: the seconds of training so far, over all resumptions; None before the first row.
        changed: when the log, a checkpoint or the config last changed, in seconds since 1970.
        note: what is wrong with the run, in one line, with the names of files in its folder; else empty.
    """

    folder: Path
    state: State = "damaged"
    holder: str = ""
    step: int | None = None
    steps: int | None = None
    done: float | None = None
    metric: str | None = None
    best: float | None = None
    best_step: int | None = None
    higher_is_better: bool | None = None
    last: float | None = None
    seconds: float | None = None
    changed: float | None = None
    note: str = field(default="")


def summarise(folder: Path) -> Summary:
    """Read the summary of a run. What is damaged is part of the summary; nothing is written, and nobody waited for."""
    found = Summary(folder)
    try:
        found.changed = _changed(folder)
        held = lock.look(folder)
        running = held is not None and held[1] is not False
        if held is not None and running:
            holder, lives = held
            found.holder = f"process {holder.process} on {holder.host}" if holder.host else "an unknown process"
        if is_being_deleted(folder):
            found.state = "being deleted"
            found.note = "" if running else "its deletion was interrupted; the next run of this name finishes it"
            return found
        _read(found, running)
        if running:
            found.state = "running" if lives else "running?"
    except UserError as error:
        found.state, found.note = "damaged", str(error)
    except OSError as error:
        found.state, found.note = "damaged", f"{error.filename or folder}: {error.strerror or error}"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        found.state, found.note = "damaged", f"holds other values than a run has ({type(error).__name__}: {error})"
    found.note = " ".join(found.note.replace(f"{folder}/", "").split())
    return found


def _read(found: Summary, running: bool) -> None:
    run, batch_size = _budget(found)
    found.steps = run.steps
    rows = LastRows(found.folder)
    last = rows.last()
    step, done, over = _at_newest_checkpoint(found, run, batch_size)
    found.state = "not saved" if step is None else "finished" if over else "stopped"
    diverged = read_divergence(found.folder)
    if diverged is not None:
        found.state, found.note, step = "diverged", diverged.reason, diverged.step
        done = run.used(step, 0, 0)
    if last is not None:
        found.seconds = float(last["time"])
        if step is None or running or diverged is not None:
            spent = max((v for k, v in last.items() if k.startswith("gradients/")), default=0)
            step = int(last["step"]) if diverged is None else diverged.step
            done = run.used(step, spent, last.get("kimg", 0))
    found.step, found.done = step, None if step is None else min(1.0, done)
    _read_best(found, rows)


def _budget(found: Summary) -> tuple[Run, int]:
    """The section ``run`` of the config, and the batch size."""
    if has_other_config(found.folder):
        raise other_config(found.folder)
    file = next(configs_of(found.folder), None)
    if file is None:
        raise UserError(f"{found.folder / CONFIG}: lost, and no checkpoint has a copy of it")
    if file.parent != found.folder:
        found.note = f"{found.folder / CONFIG}: lost; --resume takes the copy in {file.parent.name}"
    text = file.read_text(encoding="utf-8-sig")
    sections = yaml_files.parse("".join(_SECTION.findall(text)), str(file))
    if not isinstance(sections, dict) or "run" not in sections:  # edited into another form
        sections = yaml_files.parse(text, str(file))
    if not isinstance(sections, dict):
        raise UserError(f"{file}: expected a mapping of keys to values")
    data = sections.get("data")
    return validate(Run, sections.get("run"), f"{file}: run"), data.get("batch_size", 0) if isinstance(
        data, dict
    ) else 0


def _at_newest_checkpoint(found: Summary, run: Run, batch_size: int) -> tuple[int | None, float, bool]:
    """The step of the newest whole checkpoint, the share of the budget, and whether the run is finished there.

    Without checkpoints they are None, 0 and False.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    failure = None
    for _, path in sorted(checkpoint_files.found(found.folder).items(), reverse=True):
        try:
            step, state = checkpoint_files.numbers_of(path)
            return step, share_done(run, batch_size, step, state), is_over(run, batch_size, step, state)
        except checkpoint_files.Damaged as error:
            if path.exists():  # a run that goes on deletes older ones
                failure = failure or error
                found.note = found.note or str(error)
    if failure is not None:
        raise failure
    return None, 0.0, False


def _read_best(found: Summary, rows: LastRows) -> None:
    for _, path in sorted(checkpoint_files.found(found.folder / BEST).items(), reverse=True):
        with suppress(checkpoint_files.Damaged):
            step, state = checkpoint_files.numbers_of(path)
            name, cost = str(state["evaluation"]["name"]), float(state["evaluation"]["cost"])
            value = rows.value(name, step)
            # The cost is the value, or minus the value of what is better the higher it is.
            found.higher_is_better = value == -cost != cost if value is not None else cost < 0
            found.metric, found.best, found.best_step = name, abs(cost) if value is None else value, step
            found.last = rows.value(name)
            return


def _changed(folder: Path) -> float | None:
    times: list[float] = []
    for entry in (CONFIG, METRICS, BEST, "."):
        with suppress(FileNotFoundError):
            times.append((folder / entry).stat().st_mtime)
    return max(times, default=None)


def as_plain(summary: Summary) -> dict[str, Any]:
    """The summary as JSON can write it."""
    return {**vars(summary), "folder": str(summary.folder)}
