"""What is looked at while a run goes on."""

from __future__ import annotations

from typing import Any

import torch

from gantrain.config.parts import build
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.train.callbacks import accuracy
from gantrain.train.callbacks.base import Callback
from gantrain.train.callbacks.diagnosis import GameDiagnosis
from gantrain.train.callbacks.metrics import MetricEvaluation
from gantrain.train.callbacks.samples import SampleGrid


def make_callbacks(config: Any, game: Game, data: Any, device: torch.device | str = "cpu") -> list[Callback]:
    """A diagnosis of the game; samples of a generator and their metrics, or a classifier's accuracy: as configured.

    Raises:
        UserError: averaged weights are to be looked at and the run keeps none; the data or features do not fit.
    """
    views: list[Callback] = []
    if config.diagnose is not None:
        views.append(GameDiagnosis(config, game, data, device))
    if config.game.name == "classification":
        if config.evaluate is not None:
            other = build("data", config.evaluate.data)
            accuracy.check(other, data.spec, "evaluate.data")
            views.append(accuracy.AccuracyEvaluation(other, config.evaluate.every, device))
        return views
    if config.samples is not None:
        views.append(SampleGrid(game, data, config.samples.every, config.samples.count, config.run.seed))
    if config.evaluate is not None:
        if config.evaluate.weights == "ema" and config.ema is None:
            raise UserError(
                "evaluate.weights: ema was asked for, and the run keeps no average; add ema: {decay: 0.999}"
            )
        views.append(MetricEvaluation(config, game, data, device))
    return views
