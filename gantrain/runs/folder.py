"""The folder of a run: it is prepared before the training, recognised later, and its config is read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gantrain.config import yaml_files
from gantrain.config.loading import load, resolved, validate
from gantrain.config.schema import Config
from gantrain.config.sections import Run
from gantrain.config.targets import foreign_targets
from gantrain.config.types import shown
from gantrain.errors import UserError
from gantrain.runs.trust import record_trained, require_trusted
from gantrain.utils import marks
from gantrain.utils.io import explaining_write_errors, write_file
from gantrain.utils.nested import flatten

CONFIG = "config.yaml"
# The first line of a run's config. A folder without one of them may be anybody's, and is never deleted.
RESOLVED_CONFIG = f"{marks.RUN}: its resolved config."
BUILT_IN_PYTHON = f"{marks.RUN} that was built in Python: what its trainer was given."
# The folder inside the run's folder that holds the checkpoint of the best evaluation.
BEST = "best"
# Keys that may change when a run is resumed: they say how long it lasts, where it runs and what it writes, and change
# nothing that it computes.
CHANGEABLE = (
    *("run.steps", "run.gradients", "run.kimg", "run.device", "run.processes", "run.threads", "run.folder"),
    *("run.timeout", "run.compile", "run.channels_last", "data.accumulation", "data.storage", "data.workers"),
    *("data.path", "data.root", "data.train", "data.test", "data.download"),  # the data's digest is compared instead
    *("run.on_error", "run.on_nonfinite", "run.rollbacks"),
    *("log", "samples", "evaluate", "diagnose", "checkpoint"),
)
# Keys, by their last parts, that may differ from host to host.
_HOST_KEYS = ("folder", "path", "threads", "timeout", "storage", "workers")


def prepare_folder(
    folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool, mark: str = RESOLVED_CONFIG
) -> None:
    """Make the run's folder and write the config into it.

    Args:
        folder: the folder of the run.
        config: the resolved config; for a trainer that was built in Python, its description of its parts.
        resume: whether an earlier run of the folder goes on.
        overwrite: whether an earlier run of the folder is deleted.
        mark: the first line of the config's file, which says which of the two it is.

    Raises:
        UserError: the folder cannot be written, or :func:`require_startable` refuses the run.
    """
    require_startable(folder, config, resume, overwrite)
    if overwrite and is_run(folder):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be deleted: {error.strerror or error}") from None
    with explaining_write_errors(folder):
        write_file(folder / CONFIG, f"{mark}\n{yaml_files.text(dict(config))}", durable=True)
    record_trained(folder / CONFIG, config)


def require_startable(folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuse a run whose folder is not its to write into. Nothing is written.

    Raises:
        UserError: the folder holds a run and neither ``resume`` nor ``overwrite`` was asked for; the folder holds
            something else; or the run to be resumed computes something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the run's folder would lie there; choose another run.name")
    known = is_run(folder)
    if not known and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists and is not a run; choose another run.name or run.folder")
    if known and not (resume or overwrite):
        raise UserError(f"{folder}: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW")
    if known and resume:
        _require_same_computation(folder, config)


def require_same_config(here: dict[str, Any], first: dict[str, Any]) -> None:
    """Refuse a config that differs from that of the first process, which may come from another file on another host.

    Args:
        here: the resolved config of this process, and other values that must be the same.
        first: those of the first process.

    Raises:
        UserError: a value differs. Keys that say where files lie and how they are read may differ.
    """
    here, first = flatten(here), flatten(first)
    for key in sorted(here.keys() | first.keys()):
        if here.get(key) != first.get(key) and key.rpartition(".")[2] not in _HOST_KEYS:
            raise UserError(
                f"{key}: {shown(here.get(key))} here, and {shown(first.get(key))} in the first process; start all "
                "processes with the same config"
            )


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run."""
    try:
        return _mark(folder) in (RESOLVED_CONFIG, BUILT_IN_PYTHON)
    except OSError:
        return False


def open_run(run: str | Path, trust: bool = False) -> tuple[Path, Config]:
    """Read the config of a run; returns the folder and the config.

    Args:
        run: the folder of the run.
        trust: whether code outside gantrain that the config names is imported though the run was not trained here.

    Raises:
        UserError: there is no run at ``run``; it was built in Python and not from a config; or it is not trusted.
    """
    folder = _require_config(run)
    file = folder / CONFIG
    return folder, load(file, check=lambda content: require_trusted(file, content, trust))


def comparable_config(run: str | Path, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The config of a run as plain data, to be compared with others. No code is imported that is not known.

    Keys that are newer than the run have their defaults, unless the config names unknown code; then all parts are as
    they were written, which a run of this version fills in by itself. Sections in ``CHANGEABLE`` say nothing.

    Args:
        run: the folder of the run.
        known: the targets by their keys, as in :func:`~gantrain.config.targets.foreign_targets`, that may be imported.

    Raises:
        UserError: there is no run at ``run``, it was built in Python, or its config is wrong.
    """
    file = _require_config(run) / CONFIG
    content = {key: value for key, value in yaml_files.read(file).items() if key not in CHANGEABLE}
    if foreign_targets(content).items() <= known.items():
        return resolved(validate(Config, content, str(file)))
    return {**content, "run": resolved(validate(Run, content.get("run"), f"{file}: run"))}


def _require_config(run: str | Path) -> Path:
    folder = Path(run)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: no run here; expected a folder with {CONFIG}, as under checkpoints/")
    if _mark(folder) == BUILT_IN_PYTHON:
        raise UserError(
            f"{folder}: this run was built in Python, and its folder does not say how to build its game again; build "
            "the trainer there and call its restore()"
        )
    return folder


def _mark(folder: Path) -> str:
    with (folder / CONFIG).open(encoding="utf-8", errors="replace") as lines:
        return lines.readline().rstrip("\n")


def _require_same_computation(folder: Path, config: Mapping[str, Any]) -> None:
    python = _mark(folder) == BUILT_IN_PYTHON
    before = flatten(yaml_files.read(folder / CONFIG) if python else comparable_config(folder, foreign_targets(config)))
    now = flatten(dict(config))
    # The name of the outermost part comes first, since all keys of a part differ when its name does.
    for key in sorted(
        before.keys() | now.keys(), key=lambda k: (not k.endswith((".name", ".target")), k.count("."), k)
    ):
        old, new = before.get(key), now.get(key)
        if old != new and not any(key == c or key.startswith(f"{c}.") for c in CHANGEABLE):
            raise UserError(
                f"{key}: the run in {folder} has {shown(old)}, this config {shown(new)}; "
                "a resumed run keeps what it computes. Change it back, or start another run with run.name=NEW"
            )
