"""The runs of a sweep: a run for each point of a grid of values and each seed."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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
        values: the values of the keys in which the runs of the sweep differ, beside the seed.
    """

    config: Config
    arguments: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

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
        over: ``KEY=VALUE,VALUE,...`` for each key that differs; the values are a list in YAML without its brackets. In
            ``KEY,KEY=VALUE,...`` all keys have the same value.
        seeds: the number of seeds, which count up from ``run.seed``.

    Raises:
        UserError: an entry of ``over`` is malformed, or :func:`plan` refuses the runs.
    """
    values: dict[tuple[str, ...], list[Any]] = {}
    for entry in over:
        keys, alternatives = _alternatives(entry)
        for key in keys:
            if any(key in others for others in values) or keys.count(key) > 1:
                raise UserError(f"--over {key} is given twice; put all its values into one, as in {key}=A,B")
        values[keys] = alternatives
    short = {keys: _shortest(keys, values) for keys in values}
    points: dict[str, tuple[str, list[str]]] = {}
    differing: dict[str, dict[str, Any]] = {}
    for combination in itertools.product(*values.values()):
        chosen = list(zip(values, combination, strict=True))
        name = ",".join(f"{short[keys]}={_word(value)}" for keys, value in chosen)
        if name in points:
            raise UserError(f"--over: two runs would be called {name}; give each value once")
        differing[name] = {key: value for keys, value in chosen for key in keys}
        points[name] = config, [*overrides, *(f"{k}={json.dumps(value)}" for k, value in differing[name].items())]
    first = load(*next(iter(points.values()))).run
    folder = Path(first.folder) / first.name
    if is_run(folder):
        run, folder = folder, folder.with_name(f"{folder.name}_sweep")
        warnings.warn(f"{run}: is a run, so the sweep's runs lie in {folder}", Notice, stacklevel=2)
    return plan(folder, points, range(first.seed, first.seed + seeds), differing)


def plan(
    folder: Path,
    points: Mapping[str, tuple[str, Sequence[str]]],
    seeds: Iterable[int],
    values: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[PlannedRun]:
    """Plan the runs of several configs with several seeds; nothing is written.

    The runs are ordered by seed, so that all points have a run with the first seed before any has one with the second.

    Args:
        folder: the folder in which the runs will lie.
        points: name -> path of a config, and overrides.
        seeds: the seeds of the runs.
        values: name of a point -> the values of the keys in which it differs from the others, for the table.

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
        planned.append(PlannedRun(load(path, arguments[1:]), tuple(arguments), values.get(name, {})))
    for run in planned:
        require_startable(run.folder, resolved(run.config), resume=True, overwrite=False)
    return planned


def _alternatives(entry: str) -> tuple[tuple[str, ...], list[Any]]:
    left, equals, values = entry.partition("=")
    keys = tuple(left.split(","))
    if not equals or not all(all(key.split(".")) for key in keys):
        raise UserError(f"--over {entry!r}: expected KEY=VALUE,VALUE,..., as in outer=gda,extragradient")
    for key in keys:
        if key in _SWEEP_KEYS:
            raise UserError(f"--over {key}: a sweep sets it itself: {_SWEEP_KEYS[key]}")
    alternatives = yaml_files.parse(f"[{values}]", f"--over {left}")
    if not isinstance(alternatives, list) or not alternatives:
        raise UserError(f"--over {left}: expected one value or more, separated by commas")
    return keys, alternatives


def _shortest(keys: tuple[str, ...], swept: Iterable[tuple[str, ...]]) -> str:
    """The shortest common end of dotted keys with which none of the other keys that are swept over ends.

    Keys without a common end have their own shortest ends, with + between them.
    """
    others = [key.split(".") for group in swept for key in group if key not in keys]
    words = keys[0].split(".")
    for count in range(1, len(words) + 1):
        end = words[-count:]
        if any(key.split(".")[-count:] != end for key in keys):
            break
        if end not in [other[-count:] for other in others]:
            return ".".join(end)
    return keys[0] if len(keys) == 1 else "+".join(_shortest((key,), swept) for key in keys)


def _word(value: Any) -> str:
    """A value as part of a folder's name: ``{name: rapp, inner_steps: 3}`` is ``rapp-inner_steps=3``."""
    if isinstance(value, dict):
        return "-".join(_word(v) if k in ("name", "target") else f"{k}={_word(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return re.sub(r"[^\w.+-]+", "_", value if isinstance(value, str) else json.dumps(value))
