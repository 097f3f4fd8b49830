"""Describes what has no text of its own: the parts of a trainer that was built in Python, and errors of any code."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from gantrain.compute.memory import is_out_of_memory, out_of_memory_message
from gantrain.config.loading import resolved
from gantrain.config.sections import Checkpoint, Log, Run
from gantrain.data.batch import Batches
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.optim.scheduled import ScheduledNumbers
from gantrain.outer.base import Outer
from gantrain.outer.learner import Learner


def describe(
    game: Game,
    learners: Sequence[Learner],
    outer: Outer,
    batches: Batches,
    run: Run,
    log: Log,
    checkpoints: Checkpoint,
    scheduled: ScheduledNumbers,
) -> dict[str, Any]:
    """The classes and settings of the parts as plain data, under the keys that a config has for them.

    The settings of a part are those arguments of its constructor that the part keeps as attributes of the same name.
    """
    players = {
        learner.name: {
            "optimizer": _optimizer(learner.optimizer),
            "sharpness": _part(learner.oracle),
            "constraint": None if learner.constraint is None else _part(learner.constraint),
        }
        | ({} if learner.clip is None else {"clip": learner.clip})
        for learner in learners
    }
    # Runs of earlier versions go on, which have no such key.
    schedules = {"schedules": scheduled.described()} if scheduled else {}
    return {
        "run": resolved(run),
        "data": {"batch_size": batches.batch_size, "accumulation": batches.accumulation},
        "game": {"target": _target(game), **players},
        "outer": _part(outer),
        "log": resolved(log),
        "checkpoint": resolved(checkpoints),
        **schedules,
    }


def described_error(error: Exception) -> str:
    """One line about an error: its text, and unless that is meant for users, its class and its place in the code."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if is_out_of_memory(error):
        return out_of_memory_message(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in place)
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"


# Stands for an argument that a part does not keep.
_NOT_KEPT = object()


def _part(part: object) -> dict[str, Any]:
    settings: dict[str, Any] = {"target": _target(part)}
    for name in inspect.signature(type(part)).parameters:
        value = getattr(part, name, _NOT_KEPT)
        if isinstance(value, Outer):
            settings[name] = _part(value)
        elif _is_plain(value):
            settings[name] = value
    return settings


def _optimizer(optimizer: Optimizer) -> dict[str, Any]:
    settings = {key: value for key, value in optimizer.defaults.items() if _is_plain(value)}
    return {"target": _target(optimizer), **{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}}


def _target(part: object) -> str:
    return f"{type(part).__module__}:{type(part).__qualname__}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
