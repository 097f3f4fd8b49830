"""The runs of a sweep: a run for each point of a grid of values and each seed."""

from __future__ import annotations

import functools
import itertools
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gantrain.commands.sweep.axes import command_line_axes, read_sweep
from gantrain.config.loading import load, resolved
from gantrain.config.merge import Override, Setting, parse_overrides
from gantrain.config.schema import Config
from gantrain.config.sections import LONGEST_NAME
from gantrain.config.types import Written
from gantrain.errors import Notice, UserError
from gantrain.runs.folder import is_run, require_startable


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


def grid(config: str, overrides: Sequence[str], over: Sequence[str], seeds: int | None = None) -> list[PlannedRun]:
    """Plan the runs of all combinations of values with all seeds, in the folder ``run.folder/run.name`` of the config.

    Where that is the folder of a run, such as one of the same config, they lie beside it in ``NAME_sweep``.

    Args:
        config: the path of the YAML file of a config, or of a sweep file; see
            :func:`~gantrain.commands.sweep.axes.read_sweep`.
        overrides: ``KEY=VALUE``, for all runs. They go before what a sweep file says, and ``over`` before them.
        over: what ``--over`` says; see :func:`~gantrain.commands.sweep.axes.command_line_axes`.
        seeds: the number of seeds, which count up from ``run.seed``. None takes that of the sweep file, or 1.

    Raises:
        UserError: an entry of ``over`` or the sweep file is wrong, or :func:`plan` refuses the runs.
    """
    file = read_sweep(config)
    given = command_line_axes(over, file.axes)
    axes = [*given.of_file, *given.further]
    points: dict[str, tuple[str, list[Override]]] = {}
    differing: dict[str, dict[str, Any]] = {}
    for words in itertools.product(*(axis.alternatives for axis in axes)):
        chosen = [axis.alternatives[word] for axis, word in zip(axes, words, strict=True)]
        name = ",".join(f"{axis.name}={word}" for axis, word in zip(axes, words, strict=True))
        of_file, further = chosen[: len(given.of_file)], chosen[len(given.of_file) :]
        base = next((each.base for each in of_file if each.base is not None), file.base)
        settings = [*file.settings, *(setting for each in of_file for setting in each.settings)]
        points[name] = base, [*settings, *overrides, *(setting for each in further for setting in each.settings)]
        differing[name] = {column: value for each in chosen for column, value in each.columns.items()}
    first = load(*next(iter(points.values()))).run
    folder = Path(first.folder) / first.name
    if is_run(folder):
        run, folder = folder, folder.with_name(f"{folder.name}_sweep")
        warnings.warn(f"{run}: is a run, so the sweep's runs lie in {folder}", Notice, stacklevel=2)
    runs = plan(folder, points, range(first.seed, first.seed + (seeds or file.seeds)), differing)
    _require_different(dict(zip(points, runs, strict=False)))
    return runs


def plan(
    folder: Path,
    points: Mapping[str, tuple[str, Sequence[Override]]],
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
    planned, contents = [], []
    for seed, (name, (path, overrides)) in itertools.product(seeds, points.items()):
        full = ",".join(filter(None, [name, f"seed={seed}"]))
        if len(full.encode()) > LONGEST_NAME:
            raise UserError(f"{full}: too long for the name of a folder; sweep over fewer keys, or shorter values")
        place = {"run.folder": str(folder), "run.name": full, "run.seed": seed}
        given = [*overrides, *(Setting(key, value, "sweep") for key, value in place.items())]
        config = load(path, given)
        content = resolved(config)
        planned.append(PlannedRun(config, (path, *arguments(given, content)), values.get(name, {})))
        contents.append(content)
    for run, content in zip(planned, contents, strict=True):
        require_startable(run.folder, content, resume=True, overwrite=False)
    return planned


def _require_different(runs: Mapping[str, PlannedRun]) -> None:
    """Refuse runs of one seed that compute the same, since a comparison would take them for runs of their own.

    Args:
        runs: the runs of one seed by the names of their points.
    """
    names: dict[str, str] = {}
    for name, run in runs.items():
        content = resolved(run.config)
        content["run"] = {key: value for key, value in content["run"].items() if key != "name"}
        other = names.setdefault(json.dumps(content, sort_keys=True, default=str), name)
        if other != name:
            raise UserError(
                f"{other} and {name} would train the same run; leave one out, or give them different values of a key "
                "that neither another axis nor KEY=VALUE sets"
            )


def arguments(overrides: Sequence[Override], config: Mapping[str, Any]) -> list[str]:
    """The arguments ``KEY=VALUE`` of a command line that says once what overrides say that go over one another.

    Args:
        overrides: the overrides.
        config: the resolved config that they give. Paths that files of the sweep name are written as it has them.
    """
    tree, keys = parse_overrides(overrides)
    outermost = [key for key in dict.fromkeys(keys) if not any(key.startswith(f"{other}.") for other in keys)]
    return [f"{key}={json.dumps(_located(_at(tree, key), _at(config, key)))}" for key in outermost]


def _at(content: Any, key: str) -> Any:
    return functools.reduce(_inside, key.split("."), content)


def _located(value: Any, found: Any) -> Any:
    """A value of a file in which paths are absolute, as they are in the resolved config."""
    if isinstance(value, dict):
        return {key: _located(inside, _inside(found, key)) for key, inside in value.items()}
    if isinstance(value, list):
        return [_located(inside, _inside(found, str(i))) for i, inside in enumerate(value)]
    is_path = isinstance(value, Written) and isinstance(found, str) and os.path.isabs(found)
    return found if is_path else value


def _inside(content: Any, key: str) -> Any:
    if isinstance(content, list) and key.isdecimal() and int(key) < len(content):
        return content[int(key)]
    return content.get(key) if isinstance(content, Mapping) else None
