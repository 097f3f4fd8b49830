"""What the doctor and a dry run share: a run that is built and tried without leaving anything behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.config.loading import resolved
from gantrain.config.schema import Config
from gantrain.errors import UserError
from gantrain.runs.checkpoint_files import found
from gantrain.runs.folder import is_run, require_startable

# Beside its checkpoints a run writes its log and pictures.
_BESIDE = 50 << 20


@dataclass(frozen=True)
class Space:
    """The room on the disk that a run needs, in bytes.

    Attributes:
        checkpoint: the size of a checkpoint.
        needed: the size of all checkpoints that lie there at one time, with the best one, and of log and pictures.
        free: the room that is free.
        place: the folder, or the nearest one above it that exists, on whose disk the run lies.
    """

    checkpoint: int
    needed: int
    free: int
    place: Path


def folder_of(config: Config) -> Path:
    """The folder of the run that a config describes."""
    return Path(config.run.folder) / config.run.name


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = Path(os.path.abspath(path))
    return next(p for p in (path, *path.parents) if os.path.lexists(p))


def space(trainer: Any, folder: Path) -> Space:
    """The room that the run of a trainer needs in a folder: one more checkpoint than it keeps, and the best ones."""
    one = tensor_bytes(trainer.state())
    kept = trainer.checkpoint_settings.keep + 1 + (2 if trainer.callbacks else 0)
    place = existing(folder)
    return Space(one, one * kept + _BESIDE, shutil.disk_usage(place).free, place)


def tensor_bytes(state: Any) -> int:
    """The size of all tensors in a tree."""
    if isinstance(state, Mapping):
        return sum(map(tensor_bytes, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(tensor_bytes, state))
    return getattr(state, "nbytes", 0)


def frozen_parameters(network: Any) -> int:
    """The number of parameters of a network that never change."""
    return sum(p.numel() for p in network.parameters() if not p.requires_grad)


def without_metrics(config: Config) -> Config:
    """The config without the metrics of samples, whose features may have to be downloaded."""
    return config.model_copy(update={key: None for key, name in config.callback_names.items() if name == "metrics"})


def earlier_run(config: Config) -> tuple[str, str] | None:
    """What lies in the folder of a run before it begins, and what can be done about it; None if it is free.

    Raises:
        UserError: the folder holds what is no run, or it could not be deleted.
    """
    place = folder_of(config)
    require_startable(place, resolved(config), resume=False, overwrite=True)
    if not is_run(place):
        return None
    steps = found(place)
    text = f"{place} holds a run, " + (f"whose newest checkpoint is of step {max(steps)}" if steps else "not yet saved")
    try:
        require_startable(place, resolved(config), resume=True, overwrite=False)
    except UserError as error:
        return f"{text}; --resume would refuse: {error}", "--overwrite starts over, run.name=NEW leaves it alone"
    return text, "--resume goes on with it, --overwrite starts over, run.name=NEW leaves it alone"
