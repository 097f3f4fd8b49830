"""gantrain: minimax games, and GANs above all, trained stably, fast and reproducibly."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Objective": "gantrain.games.base:Objective",
    "Player": "gantrain.games.base:Player",
    "Game": "gantrain.games.base:Game",
    "solve": "gantrain.solver:solve",
    "games": "gantrain.games",
    "outer": "gantrain.outer",
    "sharpness": "gantrain.sharpness",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used, so that the command line answers without loading torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gantrain' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = importlib.import_module(module)
    value = getattr(value, attribute) if attribute else value
    globals()[name] = value
    return value
