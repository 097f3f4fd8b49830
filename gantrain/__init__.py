"""gantrain: minimax games, and GANs above all, trained stably, fast and reproducibly."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gantrain import data, games, metrics, models, optim, outer, sharpness
    from gantrain.config.sections import Checkpoint, Log, Run
    from gantrain.data import Augmentation
    from gantrain.games.base import Game, Objective, Player
    from gantrain.games.losses import Loss
    from gantrain.games.penalties import Penalty
    from gantrain.metrics.base import Metric
    from gantrain.models.base import Classifier, Discriminator, Generator
    from gantrain.optim.constraints import Resolvent
    from gantrain.optim.ema import EMA
    from gantrain.outer.base import Outer
    from gantrain.outer.learner import Learner
    from gantrain.sharpness.base import Oracle
    from gantrain.solver import solve
    from gantrain.train.callbacks.base import Callback, Result
    from gantrain.train.trainer import Trainer

# Where each public name lies; a name without a class is a folder.
_PUBLIC = {
    "Augmentation": "gantrain.data.augment",
    "Callback": "gantrain.train.callbacks.base",
    "Checkpoint": "gantrain.config.sections",
    "Classifier": "gantrain.models.base",
    "Discriminator": "gantrain.models.base",
    "EMA": "gantrain.optim.ema",
    "Game": "gantrain.games.base",
    "Generator": "gantrain.models.base",
    "Learner": "gantrain.outer.learner",
    "Log": "gantrain.config.sections",
    "Loss": "gantrain.games.losses",
    "Metric": "gantrain.metrics.base",
    "Objective": "gantrain.games.base",
    "Oracle": "gantrain.sharpness.base",
    "Outer": "gantrain.outer.base",
    "Penalty": "gantrain.games.penalties",
    "Player": "gantrain.games.base",
    "Resolvent": "gantrain.optim.constraints",
    "Result": "gantrain.train.callbacks.base",
    "Run": "gantrain.config.sections",
    "Trainer": "gantrain.train.trainer",
    "data": "",
    "games": "",
    "metrics": "",
    "models": "",
    "optim": "",
    "outer": "",
    "sharpness": "",
    "solve": "gantrain.solver",
}

__all__ = [
    "Augmentation",
    "Callback",
    "Checkpoint",
    "Classifier",
    "Discriminator",
    "EMA",
    "Game",
    "Generator",
    "Learner",
    "Log",
    "Loss",
    "Metric",
    "Objective",
    "Oracle",
    "Outer",
    "Penalty",
    "Player",
    "Resolvent",
    "Result",
    "Run",
    "Trainer",
    "__version__",
    "data",
    "games",
    "metrics",
    "models",
    "optim",
    "outer",
    "sharpness",
    "solve",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the command line answers without loading torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    module = _PUBLIC[name]
    value = getattr(importlib.import_module(module), name) if module else importlib.import_module(f"gantrain.{name}")
    globals()[name] = value
    return value
