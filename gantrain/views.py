"""What is looked at while a run goes on."""

from __future__ import annotations

from typing import Any

import torch

from gantrain import validation
from gantrain.diagnosing import Diagnosing
from gantrain.errors import UserError
from gantrain.evaluation import Evaluation
from gantrain.gallery import Gallery
from gantrain.game import Game
from gantrain.parts import build
from gantrain.view import View


def make_views(config: Any, game: Game, data: Any, device: torch.device | str = "cpu") -> list[View]:
    """A diagnosis of the game; samples of a generator and their metrics, or a classifier's accuracy: as configured.

    Raises:
        UserError: averaged weights are to be looked at and the run keeps none; the data or features do not fit.
    """
    views: list[View] = []
    if config.diagnose is not None:
        views.append(Diagnosing(config, game, data, device))
    if config.game.name == "classification":
        if config.evaluate is not None:
            other = build("data", config.evaluate.data)
            validation.check(other, data.spec, "evaluate.data")
            views.append(validation.Validation(other, config.evaluate.every, device))
        return views
    if config.samples is not None:
        views.append(Gallery(game, data, config.samples.every, config.samples.count, config.run.seed))
    if config.evaluate is not None:
        if config.evaluate.weights == "ema" and config.ema is None:
            raise UserError(
                "evaluate.weights: ema was asked for, and the run keeps no average; add ema: {decay: 0.999}"
            )
        views.append(Evaluation(config, game, data, device))
    return views
