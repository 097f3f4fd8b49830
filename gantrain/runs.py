"""The folder of a run: made, taken up again, and opened afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from gantrain.config import Config, dump, load, resolved
from gantrain.errors import UserError

CONFIG = "config.yaml"
# What may change when a run goes on: how long it lasts, where it runs and what it writes, not what it computes.
CHANGEABLE = (
    *("run.steps", "run.gradients", "run.kimg", "run.device", "run.processes", "run.folder"),
    *("log", "samples", "checkpoint"),
)


def prepare(folder: Path, config: Config, resume: bool, overwrite: bool) -> None:
    """Make the run's folder and write the resolved config into it.

    Raises:
        UserError: the folder holds a run already and neither ``resume`` nor ``overwrite`` is asked for; it holds
            something else; or the run to be resumed has another config.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the run's folder would lie there; choose another run.name")
    known = (folder / CONFIG).is_file()
    if not known and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: exists and is not a run; choose another run.name or run.folder")
    if known and resume:
        _check_same(folder, config)
    elif known and overwrite:
        shutil.rmtree(folder)
    elif known:
        raise UserError(f"{folder}: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CONFIG}.tmp"
    temporary.write_text(dump(config))
    os.replace(temporary, folder / CONFIG)


def open_run(run: str | Path) -> tuple[Path, Config]:
    """The folder and the config of a run.

    Raises:
        UserError: there is no run at ``run``.
    """
    folder = Path(run)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: no run here; expected a folder with {CONFIG}, as under checkpoints/")
    return folder, load(folder / CONFIG)


def _check_same(folder: Path, config: Config) -> None:
    before, now = _flat(resolved(load(folder / CONFIG))), _flat(resolved(config))
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new and not any(key == c or key.startswith(f"{c}.") for c in CHANGEABLE):
            raise UserError(
                f"{key}: the run in {folder} has {old!r}, this config {new!r}; a resumed run keeps what it computes. "
                "Change it back, or start another run with run.name=NEW"
            )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict) and tree:
        return {k: v for key, part in tree.items() for k, v in _flat(part, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree}
