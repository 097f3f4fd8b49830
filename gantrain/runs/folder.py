"""The folder of a run: made, taken up again, and opened afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantrain.config import yaml_files
from gantrain.config.loading import load, resolved
from gantrain.config.schema import Config
from gantrain.config.types import shown
from gantrain.errors import UserError

CONFIG = "config.yaml"
# The first line of a run's config. A folder without one of them may be anybody's, and is never deleted.
RESOLVED_CONFIG = "# A run of gantrain: its resolved config."
BUILT_IN_PYTHON = "# A run of gantrain that was built in Python: what its trainer was given."
# The folder in a run's that holds the checkpoint of the best evaluation.
BEST = "best"
# What may change when a run goes on: how long it lasts, where it runs and what it writes, not what it computes.
CHANGEABLE = (
    *("run.steps", "run.gradients", "run.kimg", "run.device", "run.processes", "run.threads", "run.folder"),
    *("run.compile", "run.channels_last", "data.accumulation", "data.storage", "data.workers"),
    *("log", "samples", "evaluate", "diagnose", "checkpoint"),
)
# What hosts may have of their own: the last parts of keys.
_OF_A_HOST = ("folder", "path", "threads", "storage", "workers")


def prepare(
    folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool, mark: str = RESOLVED_CONFIG
) -> None:
    """Make the run's folder and write the config into it.

    Args:
        folder: of the run.
        config: the resolved config, or what a trainer that was built in Python says of its parts.
        resume: whether an earlier run of the folder goes on.
        overwrite: whether an earlier run of the folder is deleted.
        mark: the first line of the config's file, which says which of the two it is.

    Raises:
        UserError: the folder holds a run already and neither ``resume`` nor ``overwrite`` is asked for; it holds
            something else; or the run to be resumed has another config.
    """
    check(folder, config, resume, overwrite)
    try:
        if overwrite and is_run(folder):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{CONFIG}.tmp"
        temporary.write_text(f"{mark}\n{yaml_files.text(dict(config))}", encoding="utf-8")
        os.replace(temporary, folder / CONFIG)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def check(folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Whether :func:`prepare` would go on.

    Raises:
        UserError: as there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the run's folder would lie there; choose another run.name")
    known = is_run(folder)
    if not known and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists and is not a run; choose another run.name or run.folder")
    if known and not (resume or overwrite):
        raise UserError(f"{folder}: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW")
    if known and resume:
        _check_same(folder, config)


def check_alike(here: dict[str, Any], there: dict[str, Any]) -> None:
    """Whether this process is given what the first one is given, perhaps by another file on another host.

    Args:
        here: this process' resolved config, and what else must be the same.
        there: the first process'.

    Raises:
        UserError: something differs, other than where files lie and how they are read.
    """
    here, there = flat(here), flat(there)
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key) and key.rpartition(".")[2] not in _OF_A_HOST:
            raise UserError(
                f"{key}: {shown(here.get(key))} here, and {shown(there.get(key))} in the first process; start all "
                "processes with the same config"
            )


def is_run(folder: Path) -> bool:
    """Whether a folder is a training run's."""
    try:
        return _mark(folder) in (RESOLVED_CONFIG, BUILT_IN_PYTHON)
    except OSError:
        return False


def open_run(run: str | Path) -> tuple[Path, Config]:
    """The folder and the config of a run.

    Raises:
        UserError: there is no run at ``run``, or it was built in Python and not from a config.
    """
    folder = Path(run)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: no run here; expected a folder with {CONFIG}, as under checkpoints/")
    if _mark(folder) == BUILT_IN_PYTHON:
        raise UserError(
            f"{folder}: this run was built in Python, and its folder does not say how to build its game again; build "
            "the trainer there and call its restore()"
        )
    return folder, load(folder / CONFIG)


def _mark(folder: Path) -> str:
    with (folder / CONFIG).open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().rstrip("\n")


def _check_same(folder: Path, config: Mapping[str, Any]) -> None:
    # A resolved config is loaded, so that keys which are newer than the run have their defaults.
    python = _mark(folder) == BUILT_IN_PYTHON
    before = flat(yaml_files.read(folder / CONFIG) if python else resolved(load(folder / CONFIG)))
    now = flat(dict(config))
    # The outermost part's name first, since all of its keys differ with it.
    for key in sorted(
        before.keys() | now.keys(), key=lambda k: (not k.endswith((".name", ".target")), k.count("."), k)
    ):
        old, new = before.get(key), now.get(key)
        if old != new and not any(key == c or key.startswith(f"{c}.") for c in CHANGEABLE):
            raise UserError(
                f"{key}: the run in {folder} has {shown(old)}, this config {shown(new)}; "
                "a resumed run keeps what it computes. Change it back, or start another run with run.name=NEW"
            )


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted paths."""
    if isinstance(tree, dict) and tree:
        return {k: v for key, part in tree.items() for k, v in flat(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree}
