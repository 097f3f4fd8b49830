"""Tiny runs for tests to train, and what they leave compared."""

from __future__ import annotations

import copy
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from gantrain.config import merge
from gantrain.config.schema import Config
from gantrain.runs import checkpoint
from gantrain.runs.monitor import WALL_CLOCK, read_metrics

ADAM = {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.9]}
RING = {
    "run": {"name": "ring", "steps": 20},
    "data": {"name": "gaussian_ring", "batch_size": 32, "samples": 500},
    "game": {
        "name": "gan",
        "loss": "non_saturating",
        "generator": {"model": {"name": "mlp", "width": 16, "latent_dim": 4}, "optimizer": ADAM},
        "discriminator": {"model": {"name": "mlp", "width": 16}, "optimizer": ADAM},
    },
    "ema": {"decay": 0.9},
    "log": {"every": 2, "curves": False},
    # A picture of points takes as long as all that is trained.
    "samples": None,
    "checkpoint": {"every": 1000},
}
DIGITS = copy.deepcopy(RING) | {
    "run": {"name": "digits", "steps": 20},
    "data": {"name": "digits", "batch_size": 32},
    "samples": {"every": 1000, "count": 16},
}
DIGITS["game"]["generator"]["model"] = {"name": "conv", "width": 4, "latent_dim": 4}
DIGITS["game"]["discriminator"]["model"] = {"name": "conv", "width": 4, "spectral_norm": True}


def config_of(base: dict[str, Any], folder: Path, *overrides: str) -> Config:
    """The validated config of a run in ``folder``: ``base`` changed as on the command line."""
    return Config.model_validate(_changed(base, overrides, folder))


def _changed(base: dict[str, Any], overrides: Sequence[str], folder: Path | str) -> dict[str, Any]:
    """The content as arguments change it, of which a later one, as of a single test, may go over an earlier one."""
    given = (*overrides, f"run.folder={folder}", "run.device=cpu")
    tree = functools.reduce(merge.merge, (merge.parse_overrides([each])[0] for each in given))
    return merge.merge(copy.deepcopy(base), tree)


def write(folder: Path, base: dict[str, Any], *overrides: str) -> str:
    """The same as a file in ``folder``, whose runs lie there too; returns its name."""
    (folder / "config.yaml").write_text(yaml.safe_dump(_changed(base, overrides, ".")))
    return "config.yaml"


def same(left, right) -> bool:
    """Whether two trees agree to the last bit."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right


def state(folder: Path, step: int | None = None) -> dict:
    return checkpoint.load(checkpoint.newest(folder) if step is None else folder / f"step_{step}")[1]


def rows(folder: Path) -> list[dict]:
    """What was logged, without the clock on the wall."""
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in read_metrics(folder)]


def back_to(folder: Path, step: int) -> None:
    """Take away the later checkpoints: the run stands as if it had been killed after that of this step."""
    for path in folder.glob("step_*"):
        if int(path.name.removeprefix("step_")) > step:
            shutil.rmtree(path)
