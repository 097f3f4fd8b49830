"""What is looked at while a run goes on."""

from __future__ import annotations

from typing import Any

import torch

from gantrain.game import Game
from gantrain.parts import build
from gantrain.sampling import Gallery
from gantrain.validation import Validation


def make_view(config: Any, game: Game, data: Any, device: torch.device | str = "cpu") -> Gallery | Validation | None:
    """What is looked at while the run goes on: samples of a generator, a classifier's accuracy, or nothing."""
    if config.game.name == "classification":
        evaluate = config.evaluate
        return None if evaluate is None else Validation(build("data", evaluate.data), evaluate.every, device)
    if config.samples is not None:
        return Gallery(game, data, config.samples.every, config.samples.count, config.run.seed)
    return None
