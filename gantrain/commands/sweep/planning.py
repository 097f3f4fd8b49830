"""The runs of a sweep: a run for each point of a grid of values and each seed."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.config import yaml_files
from gantrain.config.loading import load, resolved
from gantrain.config.schema import Config
from gantrain.config.sections import LONGEST_NAME
from gantrain.errors import Notice, UserError
from gantrain.runs.folder import is_run, require_startable

# Keys that a sweep sets, and what the user is told instead.
_SWEEP_KEYS = {
    "run.name": "the runs are named by their values",
    "run.folder": "all runs lie in one folder",
    "run.seed": "use --seeds",
}


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        config: the validated config of the run.
        arguments: the arguments of ``gantrain train`` that give this config.
    """

    config: Config
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def folder(self) -> Path:
        return Path(self.config.run.folder) / self.name


def grid(config: str, overrides: Sequence[str], over: Sequence[str], seeds: int) -> list[PlannedRun]:
    """Plan the runs of all combinations of values with all seeds, in the folder ``run.folder/run.name`` of the config.

    Where that is the folder of a run, such as one of the same config, they lie beside it in ``NAME_sweep``.

    Args:
        config: the path of the YAML file.
        overrides: ``KEY=VALUE``, for all runs.
        over: ``KEY=VALUE,VALUE,...`` for each key that differs; the values are a list in YAML without its brackets.
        seeds: the number of seeds, which count up from ``run.seed``.

    Raises:
        UserError: an entry of ``over`` is malformed, or :func:`plan` refuses the runs.
    """
    values: dict[str, list[Any]] = {}
    for entry in over:
        key, alternatives = _alternatives(entry)
        if key in values:
            raise UserError(f"--over {key} is given twice; put all its values into one, as in {key}=A,B")
        values[key] = alternatives
    short = {key: _shortest(key, values) for key in values}
    points: dict[str, tuple[str, list[str]]] = {}
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = ",".join(f"{short[key]}={_word(value)}" for key, value in chosen.items())
        if name in points:
            raise UserError(f"--over: two runs would be called {name}; give each value once")
        points[name] = config, [*overrides, *(f"{key}={json.dumps(value)}" for key, value in chosen.items())]
    first = load(*next(iter(points.values()))).run
    folder = Path(first.folder) / first.name
    if is_run(folder):
        run, folder = folder, folder.with_name(f"{folder.name}_sweep")
        warnings.warn(f"{run}: is a run, so the sweep's runs lie in {folder}", Notice, stacklevel=2)
    return plan(folder, points, range(first.seed, first.seed + seeds))


def plan(folder: Path, points: Mapping[str, tuple[str, Sequence[str]]], seeds: Iterable[int]) -> list[PlannedRun]:
    """Plan the runs of several configs with several seeds; nothing is written.

    The runs are ordered by seed, so that all points have a run with the first seed before any has one with the second.

    Args:
        folder: the folder in which the runs will lie.
        points: name -> path of a config, and overrides.
        seeds: the seeds of the runs.

    Raises:
        UserError: a config is wrong, or the folder holds a run of the same name that computes something else.
    """
    if is_run(folder):
        raise UserError(f"{folder}: is a run, and the sweep's runs would lie in it; choose another name")
    planned = []
    for seed, (name, (path, overrides)) in itertools.product(seeds, points.items()):
        full = ",".join(filter(None, [name, f"seed={seed}"]))
        if len(full.encode()) > LONGEST_NAME:
            raise UserError(f"{full}: too long for the name of a folder; sweep over fewer keys, or shorter values")
        place = [f"run.folder={json.dumps(str(folder))}", f"run.name={json.dumps(full)}", f"run.seed={seed}"]
        arguments = [path, *overrides, *place]
        planned.append(PlannedRun(load(path, arguments[1:]), tuple(arguments)))
    for run in planned:
        require_startable(run.folder, resolved(run.config), resume=True, overwrite=False)
    return planned


def _alternatives(entry: str) -> tuple[str, list[Any]]:
    key, equals, values = entry.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--over {entry!r}: expected KEY=VALUE,VALUE,..., as in outer=gda,extragradient")
    if key in _SWEEP_KEYS:
        raise UserError(f"--over {key}: a sweep sets it itself: {_SWEEP_KEYS[key]}")
    alternatives = yaml_files.parse(f"[{values}]", f"--over {key}")
    if not isinstance(alternatives, list) or not alternatives:
        raise UserError(f"--over {key}: expected one value or more, separated by commas")
    return key, alternatives


def _shortest(key: str, keys: Iterable[str]) -> str:
    """The shortest end of a dotted key with which no other of the keys ends."""
    words = key.split(".")
    for count in range(1, len(words)):
        short = words[-count:]
        if not any(other != key and other.split(".")[-count:] == short for other in keys):
            return ".".join(short)
    return key


def _word(value: Any) -> str:
    """A value as part of a folder's name: ``{name: rapp, inner_steps: 3}`` is ``rapp-inner_steps=3``."""
    if isinstance(value, dict):
        return "-".join(_word(v) if k in ("name", "target") else f"{k}={_word(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return re.sub(r"[^\w.+-]+", "_", value if isinstance(value, str) else json.dumps(value))
