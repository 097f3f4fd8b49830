"""gantrain: minimax games, and GANs above all, trained stably, fast and reproducibly."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gantrain import data, games, metrics, models, optim, outer, sharpness
    from gantrain.commands.export import export
    from gantrain.config.schedules import Schedule
    from gantrain.config.sections import Checkpoint, Log, Run
    from gantrain.data import Augmentation
    from gantrain.exporting.weights import load_network
    from gantrain.games.base import Game, Objective, Player
    from gantrain.games.losses import Loss
    from gantrain.games.penalties import Penalty
    from gantrain.metrics.base import Metric
    from gantrain.models.base import Classifier, Discriminator, Generator, Perturber
    from gantrain.models.strategy import Strategy
    from gantrain.optim.constraints import Resolvent
    from gantrain.optim.ema import EMA
    from gantrain.outer.base import Outer
    from gantrain.outer.learner import Learner
    from gantrain.runs.initial import initialise
    from gantrain.runs.saved import load
    from gantrain.sharpness.base import Oracle
    from gantrain.solver import solve
    from gantrain.train import callbacks
    from gantrain.train.callbacks.base import Callback, Result
    from gantrain.train.trainer import Trainer

# Where each public class or function lies.
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
    "Perturber": "gantrain.models.base",
    "Player": "gantrain.games.base",
    "Resolvent": "gantrain.optim.constraints",
    "Result": "gantrain.train.callbacks.base",
    "Run": "gantrain.config.sections",
    "Schedule": "gantrain.config.schedules",
    "Strategy": "gantrain.models.strategy",
    "Trainer": "gantrain.train.trainer",
    "export": "gantrain.commands.export",
    "initialise": "gantrain.runs.initial",
    "load": "gantrain.runs.saved",
    "load_network": "gantrain.exporting.weights",
    "solve": "gantrain.solver",
}
# In a notebook tqdm, which other packages import, advises to install ipywidgets for bars that nobody has asked for.
warnings.filterwarnings("ignore", message="IProgress not found")
# The folders whose own names are public.
_FOLDERS = {
    "callbacks": "gantrain.train.callbacks",
    "data": "gantrain.data",
    "games": "gantrain.games",
    "metrics": "gantrain.metrics",
    "models": "gantrain.models",
    "optim": "gantrain.optim",
    "outer": "gantrain.outer",
    "sharpness": "gantrain.sharpness",
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
    "Perturber",
    "Player",
    "Resolvent",
    "Result",
    "Run",
    "Schedule",
    "Strategy",
    "Trainer",
    "__version__",
    "callbacks",
    "data",
    "export",
    "games",
    "initialise",
    "load",
    "load_network",
    "metrics",
    "models",
    "optim",
    "outer",
    "sharpness",
    "solve",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the command line answers without loading torch."""
    value: Any
    if name in _FOLDERS:
        value = importlib.import_module(_FOLDERS[name])
    elif name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    else:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    globals()[name] = value
    return value
