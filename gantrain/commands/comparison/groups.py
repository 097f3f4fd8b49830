"""Runs in groups that differ only in the seed."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.commands.comparison.series import Series, read_series
from gantrain.config.base import nearest, one_of
from gantrain.config.paths import nothing_at
from gantrain.config.shipped import find_run, is_missing
from gantrain.config.types import shown
from gantrain.data.digest import Digest, difference
from gantrain.errors import UserError
from gantrain.runs.data_record import recorded_digest
from gantrain.runs.folder import CHANGEABLE, comparable_config, has_other_config, is_run, other_config
from gantrain.utils.nested import flatten
from gantrain.utils.statistics import Estimate

# Keys of the section data that do not say which samples there are.
_NOT_OF_THE_DATA = ("batch_size", "accumulation", "storage", "workers")
# Keys that say how long a run lasts and how its sums are rounded. Runs of a group may differ in them, but not two runs
# of the same seed.
_APART = (
    *("run.steps", "run.gradients", "run.kimg", "data.accumulation", "run.processes", "run.sharding", "run.device"),
    *("run.threads", "run.compile", "run.channels_last", "run.deterministic"),
)


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed.

    Attributes:
        label: the name of the group in tables and pictures, with the values that tell it from another of the same name.
        method: the name of the outer loop, which decides the colour.
        game: the game without what belongs to its players, as text: groups with the same game minimise the same.
        runs: the runs in ascending order of their seeds.
        config: the values of the runs' common config by their keys, such as ``outer.name``.
        digest: the digest of the data; None where no run has a record of them.
    """

    label: str
    method: str
    game: str
    runs: tuple[Series, ...]
    config: Mapping[str, Any]
    digest: Digest | None

    def curve(self, metric: str, cost: float) -> tuple[np.ndarray, list[Estimate]]:
        """The costs at which a run measured the metric, within the range that all share, and the estimates.

        Args:
            metric: the full name of the metric.
            cost: runs that diverged before this cost are left out.
        """
        runs = [run for run in self.runs if run.has(metric, cost)]
        if not runs:
            return np.array([]), []
        measured = [run.values[metric][0] for run in runs]
        first, last = max(costs[0] for costs in measured), min(costs[-1] for costs in measured)
        costs = np.unique(np.concatenate(measured))
        costs = costs[(costs >= first) & (costs <= last)]
        values = np.array([np.interp(costs, *run.values[metric]) for run in runs])
        return costs, [Estimate.of(at_cost) for at_cost in values.T.tolist()]


@dataclass(frozen=True)
class Member:
    """A run that a group is made of.

    Attributes:
        series: its logged values.
        config: its config as plain data, see :func:`~gantrain.runs.folder.comparable_config`.
        digest: the digest of its data; None without a whole record of them.
    """

    series: Series
    config: Mapping[str, Any]
    digest: Digest | None


def same_data(one: Digest | None, other: Digest | None) -> bool:
    """Whether two digests may be of the same data; a missing one may be of any."""
    return one is None or other is None or difference(one, other) is None


def read_groups(runs: Sequence[str | Path], at: str) -> list[Group]:
    """The runs in groups of one config and one data set, each with a label of its own.

    Args:
        runs: folders of runs, or folders of such folders.
        at: the kind of cost: "gradients", "kimg" or "step".

    Raises:
        UserError: there is no run, two are the same, or one cannot be read.
    """
    members = []
    for folder in run_folders(runs):
        config = comparable_config(folder)
        members.append(Member(read_series(folder, config["run"]["seed"], at), config, data_digest(folder)))
    if not members:
        raise UserError("no run to compare; name the folder of a run, or of runs")
    return grouped(members)


def grouped(members: Sequence[Member]) -> list[Group]:
    """Runs in groups of one config and one data set, each with a label of its own.

    Args:
        members: the runs, at least one.

    Raises:
        UserError: two runs of a group have the same seed.
    """
    by_config: dict[str, list[list[Member]]] = {}
    for member in members:
        alike = by_config.setdefault(as_text(_without_seed(member.config)), [])
        same = next((members for members in alike if same_data(members[0].digest, member.digest)), None)
        if same is None:
            alike.append([member])
        else:
            same.append(member)
    groups = [
        _group(runs, apart)
        for alike in itertools.chain(*by_config.values())
        for runs, apart in _with_one_run_per_seed(alike)
    ]
    labels = distinct([(group.label, group.runs[0].folder) for group in groups])
    return [replace(group, label=label) for group, label in zip(groups, labels, strict=True)]


def distinct(labels: Sequence[tuple[str, Path]]) -> list[str]:
    """Labels of which no two are the same: where several are, a folder is added to each."""
    names = [label for label, _ in labels]
    return [label if names.count(label) == 1 else f"{label} ({folder})" for label, folder in labels]


def find_label(word: str, labels: Sequence[str]) -> int:
    """The place of the label that a word stands for: the label itself, or a part that no other label has.

    Raises:
        UserError: there is none, or several have the part.
    """
    found = [i for i, label in enumerate(labels) if label == word]
    found = found or [i for i, label in enumerate(labels) if word in label]
    if len(found) == 1:
        return found[0]
    if found:
        meant = ", ".join(labels[i] for i in found)
        raise UserError(f"--baseline {word}: stands in several labels: {meant}; write a part that only one has")
    raise UserError(f"--baseline {word}: no group has this label; expected {one_of(labels)}{nearest(word, labels)}")


def as_text(config: Mapping[str, Any]) -> str:
    """Values of a config as text: equal texts are equal values."""
    return json.dumps(config, sort_keys=True, default=repr)


def _with_one_run_per_seed(members: Sequence[Member]) -> list[tuple[list[Member], dict[str, Any]]]:
    """Members of one config, divided by the keys of ``_APART`` that differ between runs of the same seed.

    Returns:
        The members of each part, and the values by which it is told from the others.
    """
    values = [_at(_APART, flatten(member.config)) for member in members]
    keys = {
        key
        for (one, first), (two, second) in itertools.combinations(zip(members, values, strict=True), 2)
        if one.series.seed == two.series.seed
        for key in first.keys() | second.keys()
        if first.get(key) != second.get(key)
    }
    parts: dict[str, tuple[list[Member], dict[str, Any]]] = {}
    for member, own in zip(members, values, strict=True):
        apart = {key: own.get(key) for key in sorted(keys)}
        parts.setdefault(as_text(apart), ([], apart))[0].append(member)
    return list(parts.values())


def _group(members: Sequence[Member], apart: Mapping[str, Any]) -> Group:
    members = sorted(members, key=lambda member: member.series.seed)
    runs = tuple(member.series for member in members)
    for one, two in itertools.pairwise(runs):
        if one.seed == two.seed:
            raise UserError(
                f"{one.folder} and {two.folder}: have the same seed, {one.seed}, and train the same by their configs; "
                "leave one out"
            )
    config = members[0].config
    digest = next((member.digest for member in members if member.digest is not None), None)
    label = " ".join([_label(config, runs[0].folder), *(f"{key}={shown(value)}" for key, value in apart.items())])
    return Group(label, _method(config), _game(config, runs), runs, {**_without_seed(config), **apart}, digest)


def run_folders(runs: Sequence[str | Path]) -> list[Path]:
    """The folders of runs among ``runs`` and in them, each once.

    Args:
        runs: paths of runs or of folders of runs, or bare names of those in ``checkpoints``.

    Raises:
        UserError: there is no run at a path, and none in it; or the config of a run is not its own.
    """
    folders: dict[Path, Path] = {}
    for run in map(find_run, runs):
        if has_other_config(run):
            raise other_config(run)
        inside = [run] if is_run(run) else sorted(p for p in run.glob("*") if is_run(p))
        if not inside:
            nothing = f": {nothing_at(run)}" if is_missing(run) else " and none in it"
            raise UserError(f"{run}: no run here{nothing}; expected a folder of a run, or of runs, as of a sweep")
        folders |= {p.resolve(): p for p in inside if p.resolve() not in folders}
    return list(folders.values())


def _without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config that are the same in all runs of a group, by their keys."""
    flat = flatten(config)
    left_out = _at(("run.seed", "run.name", *CHANGEABLE), flat)
    return {key: leaf for key, leaf in flat.items() if key not in left_out}


def _at(keys: Sequence[str], flat: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a flat config at some keys and inside of them."""
    return {
        key: leaf for key, leaf in flat.items() if any(key == other or key.startswith(f"{other}.") for other in keys)
    }


def data_digest(folder: Path) -> Digest | None:
    """The digest of the data of a run, wherever they lay; None without a whole record."""
    try:
        return recorded_digest(folder)
    except (OSError, ValueError, RecursionError):
        return None


def _label(config: Mapping[str, Any], folder: Path) -> str:
    return re.sub(r"[-_,. ]?seed[-_= ]?\d+$", "", config["run"]["name"]) or folder.resolve().parent.name


def _method(config: Mapping[str, Any]) -> str:
    outer = config.get("outer")
    return str((outer.get("name") or outer.get("target")) if isinstance(outer, Mapping) else outer)


def _game(config: Mapping[str, Any], runs: Sequence[Series]) -> str:
    """The game without the sections of its players, and the data, as text."""
    game = config.get("game")
    players = {name.removeprefix("loss/") for run in runs for name in run.values if name.startswith("loss/")}
    kept = {key: v for key, v in game.items() if key not in players} if isinstance(game, Mapping) else game
    data = {key: v for key, v in (config.get("data") or {}).items() if key not in _NOT_OF_THE_DATA}
    return json.dumps([kept, data], sort_keys=True, default=repr)
