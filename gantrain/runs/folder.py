"""The folder of a run: it is prepared before the training, recognised later, and its config is read."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gantrain.config import marks, yaml_files
from gantrain.config.loading import load, resolved, validate
from gantrain.config.merge import read_file
from gantrain.config.moved import place_keys
from gantrain.config.paths import not_found, nothing_at
from gantrain.config.schema import Config
from gantrain.config.sections import Run
from gantrain.config.shipped import find_run, is_missing
from gantrain.config.shipped import shown as shown_path
from gantrain.config.targets import foreign_targets, is_own
from gantrain.config.types import shown
from gantrain.errors import Notice, UserError
from gantrain.runs import checkpoint_files
from gantrain.runs.divergence import forget_divergence
from gantrain.runs.lock import LOCK, require_free
from gantrain.runs.trust import record_trained, require_trusted
from gantrain.utils.io import make_folder, set_aside, write_file
from gantrain.utils.nested import flatten
from gantrain.utils.system_files import is_system_file

CONFIG = "config.yaml"
# The first line of a run's config. A folder without one of them may be anybody's, and is never deleted.
RESOLVED_CONFIG = f"{marks.RUN}: its resolved config."
BUILT_IN_PYTHON = f"{marks.RUN} that was built in Python: what its trainer was given."
# The file that says that a run is being deleted, from before its first file until after its last.
_DELETED = "deleted.tmp"
# What a process that was killed may leave of a run that had not begun; and all that a run has.
_HALF_WRITTEN = re.compile(
    r"(config\.yaml|metrics\.jsonl|.+\.(png|gif)|(data|init|better|trackers|diverged)\.json)(\.[0-9a-f]{8})?\.tmp"
)
_BEGINNINGS = re.compile(rf"{LOCK}(\..+)?|{_HALF_WRITTEN.pattern}")
_OWN = re.compile(
    rf"{_BEGINNINGS.pattern}|config\.yaml(\..+)?|(data|init|better|trackers|diverged)\.json|metrics\.jsonl|events\.out\.tfevents\..+|"
    r"step_[0-9]+(\..+)?|curves\.png|report\.html|samples|pictures|best|diagnosis|exported|wandb"
)
# The folder inside the run's folder that holds the checkpoint of the best evaluation.
BEST = "best"
# Keys that may change when a run is resumed: they say how long it lasts, where it runs and what it writes, and change
# nothing that it computes.
CHANGEABLE = (
    *("run.steps", "run.gradients", "run.kimg", "run.device", "run.processes", "run.threads", "run.folder"),
    *("run.timeout", "run.compile", "run.channels_last", "run.deterministic", "run.sharding"),
    *("data.accumulation", "data.storage", "data.workers"),
    *("data.path", "data.root", "data.train", "data.test", "data.download"),  # the data's digest is compared instead
    *("run.on_error", "run.on_nonfinite", "run.rollbacks"),
    *("log", "samples", "evaluate", "advice", "scalars", "pictures", "callbacks", "diagnose", "checkpoint"),
)
# Keys that name the data and other files which a run reads, by their last parts.
_INPUTS = (".path", ".root", "data.train", "data.test", "evaluate.features", "features.weights")
# Keys, by their last parts, that may differ from host to host.
_HOST_KEYS = (*_INPUTS, ".folder", ".threads", ".timeout", ".storage", ".workers")


def prepare_folder(
    folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool, mark: str = RESOLVED_CONFIG
) -> None:
    """Make the run's folder and write the config into it. The caller holds the lock of the folder.

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
    clear_folder(folder, overwrite)
    make_folder(folder, durable=True)
    for entry in (*folder.iterdir(), *folder.glob("samples/*.tmp")):
        if _HALF_WRITTEN.fullmatch(entry.name):
            with suppress(OSError):
                entry.unlink()
    if (folder / CONFIG).exists() and not is_run(folder) and not _is_blank(folder / CONFIG):
        set_aside(folder / CONFIG, "damaged")
    forget_divergence(folder)
    write_file(folder / CONFIG, config_text(config, mark), durable=True)
    record_trained(folder / CONFIG, config)


def clear_folder(folder: Path, overwrite: bool) -> None:
    """Delete the run in a folder if it is to be overwritten, or if a process was killed while it deleted the run.

    Args:
        folder: the folder of the run.
        overwrite: whether an earlier run of the folder is deleted.

    Raises:
        UserError: something cannot be deleted.
    """
    if is_being_deleted(folder) or overwrite and (is_run(folder) or lost_its_config(folder)):
        _delete_run(folder)


def config_text(config: Mapping[str, Any], mark: str) -> str:
    """The content of a run's config file; see :func:`prepare_folder`."""
    return f"{mark}\n{_as_yaml(json.dumps(dict(config), default=str))}"


# A run asks for the same text several times at its start and at each checkpoint, and YAML is slow to write and to read.
@functools.lru_cache(maxsize=4)
def _as_yaml(content: str) -> str:
    return yaml_files.text(json.loads(content))


@functools.lru_cache(maxsize=4)
def _require_readable(text: str, where: str) -> None:
    yaml_files.parse(text, where)


def require_available(folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuse a folder into which a process of this host writes, or that :func:`require_startable` refuses.

    Raises:
        UserError: the run cannot start in the folder; of two reasons, the process is named.
    """
    require_free(folder)
    try:
        require_startable(folder, config, resume, overwrite)
    except UserError:
        require_free(folder)  # what stands in the way may have begun in this moment
        raise


def require_startable(folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Refuse a run whose folder is not its to write into. Nothing is written.

    Raises:
        UserError: the folder holds a run and neither ``resume`` nor ``overwrite`` was asked for; the folder holds
            something else; the run that begins would lie in another one; the run to be resumed computes something
            else; the run to be deleted holds its own data or another run; or the config with all defaults is too large
            to be read again.
    """
    _require_readable(config_text(config, RESOLVED_CONFIG), f"{folder / CONFIG}: the config with all its defaults")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the run's folder would lie there; choose another run.name")
    begins = is_being_deleted(folder) or _is_free(folder)
    if begins or overwrite:
        _require_apart(folder)
    if begins:
        return
    if not is_run(folder) and not lost_its_config(folder):
        if has_other_config(folder):
            raise other_config(folder)
        raise UserError(f"{folder}: exists and is not a run; choose another run.name or run.folder")
    if not (resume or overwrite):
        raise UserError(f"{folder}: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW")
    if resume:
        _require_same_computation(folder, config)
        return
    if folder.is_symlink():
        raise UserError(f"{folder}: cannot be deleted: is a symbolic link; name the folder to which it leads")
    for key, value in flatten(dict(config)).items():
        path = isinstance(value, str) and (key.endswith(_INPUTS) or os.path.isabs(value))
        if path and folder.resolve() in (Path(value).resolve(), *Path(value).resolve().parents):
            raise UserError(f"{key}: {value} lies in the run's folder, which --overwrite deletes; move it away first")
    strangers = [] if is_run(folder) else [e.name for e in _entries(folder) if not _OWN.fullmatch(e.name)]
    if strangers:
        raise UserError(
            f"{folder}: its {CONFIG} is lost, so it is deleted only if all in it is of a run, and {strangers[0]} is "
            "not; move that away, or choose another run.name"
        )


def require_same_config(here: dict[str, Any], first: dict[str, Any]) -> None:
    """Refuse a config that differs from that of the first process, which may come from another file on another host.

    Args:
        here: the resolved config of this process, and other values that must be the same.
        first: those of the first process.

    Raises:
        UserError: a value differs. Keys that say where files lie and how they are read may differ, and so may the
            folders of all paths.
    """
    here, first = flatten(here), flatten(first)
    for key in sorted(here.keys() | first.keys()):
        if not _alike(here.get(key), first.get(key)) and not key.endswith(_HOST_KEYS):
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


def has_other_config(folder: Path) -> bool:
    """Whether a folder has a run's checkpoints and a config that gantrain did not write, as one that was edited."""
    config = folder / CONFIG
    return config.exists() and not is_run(folder) and not lost_its_config(folder) and _has_checkpoints(folder)


def other_config(folder: Path) -> UserError:
    """The error that the config of a run is not its own."""
    return UserError(
        f"{folder / CONFIG}: is not what gantrain wrote, whose first line is {RESOLVED_CONFIG!r}; put that back, or "
        "move the file away, for the checkpoints have copies"
    )


def no_run(run: str | Path) -> UserError:
    """The error that a path is not that of a run, which names one of the runs in the folder if there are some."""
    inside = sorted(path for path in find_run(run).glob("*") if is_run(path))
    if inside:
        count = "1 run" if len(inside) == 1 else f"{len(inside)} runs"
        return UserError(
            f"{run}: is a folder of {count}; expected one run, such as {inside[0]} (gantrain list "
            f"{inside[0].parent} shows all)"
        )
    nothing = f": {nothing_at(run)}" if is_missing(Path(run)) else ""
    return UserError(f"{run}: no run here{nothing}; expected a folder with {CONFIG}, as under checkpoints/")


def open_run(run: str | Path, trust: bool = False, data: str | None = None) -> tuple[Path, Config]:
    """Read the config of a run; returns the folder and the config.

    Args:
        run: the folder of the run.
        data: where the training data lie now, if not where the config says.
        trust: whether code outside gantrain that the config names is imported though the run was not trained here.

    Raises:
        UserError: there is no run at ``run``; it was built in Python and not from a config; it is not trusted; or
            nothing lies at ``data``.
    """
    folder = _require_config(run)
    file = folder / CONFIG
    config = load(file, (), lambda content: require_trusted(file, content, trust), data)
    if data is not None and is_missing(data):
        raise not_found("--data", data, "say where the training data lie now, or leave it out")
    return folder, config


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
    return _comparable(_require_config(run) / CONFIG, known)


def _require_config(run: str | Path) -> Path:
    folder = Path(run)
    if not (folder / CONFIG).is_file():
        raise no_run(run)
    if _mark(folder) == BUILT_IN_PYTHON:
        raise UserError(
            f"{folder}: this run was built in Python, and its folder does not say how to build its game again; build "
            "the trainer there and call its restore()"
        )
    return folder


def _mark(folder: Path) -> str:
    return yaml_files.first_line(folder / CONFIG)


def is_run_of_any_kind(folder: Path) -> bool:
    """Whether a folder is that of a run, also of one whose config is lost or another, or which is being deleted."""
    return is_run(folder) or is_being_deleted(folder) or lost_its_config(folder) or has_other_config(folder)


def _require_apart(folder: Path) -> None:
    """Refuse a run that would lie in another one, which may be deleted with all in it."""
    above = dict.fromkeys((*Path(os.path.abspath(folder)).parents, *folder.resolve().parents))
    # A log alone does not tell a run from a folder that has another file of this name.
    outer = next((p for p in above if is_run(p) or is_being_deleted(p) or _has_checkpoints(p)), None)
    if outer is not None:
        raise UserError(
            f"{folder}: would lie in the folder of another run, {shown_path(outer)}, with which it could be deleted; "
            "choose another run.folder"
        )
    _require_no_run_in(folder)


def _require_no_run_in(folder: Path) -> None:
    """Refuse a folder in which another run lies, and which is to be deleted."""
    folders = (Path(place, name) for place, names, _ in os.walk(folder) for name in names)
    # The folder of the best checkpoint looks like a run without a config.
    inner = next((p for p in folders if p != folder / BEST and not p.is_symlink() and is_run_of_any_kind(p)), None)
    if inner is not None:
        raise UserError(
            f"{folder}: holds another run, {shown_path(inner)}, which would be deleted with it; move that away first, "
            "or choose another run.name"
        )


def _is_free(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing but what a run that was killed at once has left."""
    return not folder.is_dir() or all(
        _BEGINNINGS.fullmatch(entry.name) or entry.name == CONFIG and _is_blank(entry) for entry in _entries(folder)
    )


def lost_its_config(folder: Path) -> bool:
    """Whether a folder is that of a run, which shows in its files, and its config is missing or not even begun."""
    config = folder / CONFIG
    if config.exists() and not _is_blank(config):
        text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else CONFIG
        if not any(mark.startswith(text.strip()) for mark in (RESOLVED_CONFIG, BUILT_IN_PYTHON)):
            return False
    return (folder / marks.LOG).exists() or _has_checkpoints(folder)


def _has_checkpoints(folder: Path) -> bool:
    files = (file for place in (folder, folder / BEST) for file in place.glob("step_*/manifest.json"))
    return any((file.parent / "state.json").exists() for file in files)


def _is_blank(config: Path) -> bool:
    """Whether a config is empty or, as after a failure of the power, of zeros."""
    with suppress(OSError):
        if config.is_file():
            with config.open("rb") as stream:
                return not stream.read(1 << 16).strip(b"\0 \r\n\t")
    return False


def _entries(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if not is_system_file(entry.name))


def is_being_deleted(folder: Path) -> bool:
    return yaml_files.first_line(folder / _DELETED) == RESOLVED_CONFIG


def _delete_run(folder: Path) -> None:
    """Delete all of a run but its lock. If the process is killed, the next one finds that out and goes on."""
    _require_no_run_in(folder)
    write_file(folder / _DELETED, RESOLVED_CONFIG, durable=True)
    try:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in (_DELETED, LOCK):
                entry.unlink()
        (folder / _DELETED).unlink()
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be deleted: {error.strerror or error}") from None


def _require_same_computation(folder: Path, config: Mapping[str, Any]) -> None:
    before, failure = None, None
    for file in configs_of(folder):
        try:
            before = _as_computed(file, foreign_targets(config))
            break
        except UserError as error:
            failure = failure or error
    if before is None:
        if failure is not None:
            raise failure
        lost = f"{folder / CONFIG}: lost, so it cannot be checked that the run goes on with the config that it had"
        warnings.warn(lost, Notice, stacklevel=3)
        return
    now = flatten(dict(config))
    before |= _newer_arguments(before, now)
    changeable = (*CHANGEABLE, *(f"data.{key}" for key in place_keys(config.get("data"))))
    # The name of the outermost part comes first, since all keys of a part differ when its name does.
    for key in sorted(
        before.keys() | now.keys(), key=lambda k: (not k.endswith((".name", ".target")), k.count("."), k)
    ):
        old, new = _at(key, before), _at(key, now)
        if not _alike(old, new) and not any(key == c or key.startswith(f"{c}.") for c in changeable):
            raise UserError(
                f"{key}: the run in {folder} has {shown(old)}, this config {shown(new)}; "
                "a resumed run keeps what it computes. Change it back, or start another run with run.name=NEW"
            )


def _newer_arguments(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that gantrain's parts of a run that was built in Python have gained since, with their defaults."""
    found = {}
    for key in now.keys() - before.keys():
        part, _, name = key.rpartition(".")
        target = now.get(f"{part}.target")
        if isinstance(target, str) and is_own(target) and before.get(f"{part}.target") == target:
            module, _, cls = target.partition(":")
            argument = inspect.signature(getattr(importlib.import_module(module), cls)).parameters.get(name)
            if argument is not None and argument.default is not argument.empty:
                found[key] = argument.default
    return found


def _at(key: str, flat: Mapping[str, Any]) -> Any:
    """The value at a key of a config that has been flattened; an empty mapping stands for any, such as a schedule."""
    return flat.get(key, {} if any(other.startswith(f"{key}.") for other in flat) else None)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are the same. Two absolute paths are if they have the same name: a folder may be moved."""
    paths = all(isinstance(value, str) and os.path.isabs(value) for value in (one, other))
    return os.path.basename(one) == os.path.basename(other) if paths else bool(one == other)


def configs_of(folder: Path) -> Iterator[Path]:
    """The files with the config of a run: its own and, for the case that it is lost, the copies in its checkpoints."""
    if is_run(folder):
        yield folder / CONFIG
    for _, path in sorted(checkpoint_files.found(folder).items(), reverse=True):
        if yaml_files.first_line(path / checkpoint_files.CONFIG) in (RESOLVED_CONFIG, BUILT_IN_PYTHON):
            yield path / checkpoint_files.CONFIG


def _as_computed(config: Path, known: Mapping[str, str]) -> dict[str, Any]:
    python = yaml_files.first_line(config) == BUILT_IN_PYTHON
    return flatten(yaml_files.read(config) if python else _comparable(config, known))


def _comparable(file: Path, known: Mapping[str, str]) -> dict[str, Any]:
    content = {key: value for key, value in read_file(file).items() if key not in CHANGEABLE}
    if foreign_targets(content).items() <= known.items():
        return resolved(validate(Config, content, str(file)))
    return {**content, "run": resolved(validate(Run, content.get("run"), f"{file}: run"))}
