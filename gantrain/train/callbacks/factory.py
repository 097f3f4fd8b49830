"""Builds the callbacks that a config asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from gantrain.analysis.method import Method
from gantrain.config.parts import Part, build, part_maker
from gantrain.config.schema import Config, wrong_weights
from gantrain.config.sections import Accuracy, Advice, Correlation, Diagnose, Evaluate, Pictures, Samples, Scalars
from gantrain.config.types import Period
from gantrain.config.user_code import described, name_of
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import Game, GenerativeGame, PredictingGame
from gantrain.train.callbacks.accuracy import AccuracyEvaluation
from gantrain.train.callbacks.advice import TrainingAdvice
from gantrain.train.callbacks.base import Callback
from gantrain.train.callbacks.correlation import CorrelationEvaluation
from gantrain.train.callbacks.diagnosis import GameDiagnosis
from gantrain.train.callbacks.metrics import MetricEvaluation
from gantrain.train.callbacks.own import GamePictures, GameScalars
from gantrain.train.callbacks.predictions import require_known_labels
from gantrain.train.callbacks.samples import SampleGrid
from gantrain.utils.shared_work import sharing


def make_callbacks(
    config: Config, game: Game, data: DataSet, device: torch.device | str = "cpu", trust: bool = False
) -> list[Callback]:
    """The callbacks of a run: the diagnosis, those of the game, for each section that is not null, and the user's own.

    Args:
        config: the whole config.
        game: the game.
        data: the training data set.
        device: the device of the game.
        trust: whether runs that the config names are opened though their configs name code outside gantrain and they
            were not trained here.

    Raises:
        UserError: a callback of the user's own wants an average that the run does not keep; or the data or the features
            do not fit.
    """
    sections: dict[str, Any] = {} if config.diagnose is None else {"diagnosis": config.diagnose}
    sections |= config.game_callbacks
    makers: dict[str, Maker] = _MAKERS | {"metrics": functools.partial(_metrics, trust=trust)}
    ours: list[Callback] = []
    for name, section in sections.items():
        made = makers[name](section, config, game, data, device)
        ours += [made] if isinstance(made, Callback) else made
    with sharing(None):  # each process builds these as it likes
        own = [_own(part, f"callbacks.{i}", config, game, data) for i, part in enumerate(config.callbacks)]
    return [*ours, *own]


def _own(part: Part, key: str, config: Config, game: Game, data: DataSet) -> Callback:
    """A callback of the user's own, with those of the supplied arguments that its constructor has."""
    arguments = inspect.signature(part_maker(part)).parameters
    supplied = {"game": game, "data": data, "config": config}
    callback: Callback = build(
        "callback", part, given={name: value for name, value in supplied.items() if name in arguments}, key=key
    )
    try:
        callback.every = Period().convert(getattr(callback, "every", None))
    except (ValueError, OverflowError):
        raise UserError(
            f"{key}: {name_of(callback)}.every: expected a number of training steps, at least 1, got "
            f"{described(getattr(callback, 'every', None))}; {{kimg: N}} and {{gradients: N}} will do as well, and a "
            "constructor of your own calls super().__init__(every)"
        ) from None
    wrong = wrong_weights(callback.weights, [average.name for average in config.averages])
    if wrong is not None:
        raise UserError(f"{key}: {name_of(callback)}.weights: {wrong}")
    return callback


Maker = Callable[[Any, Config, Game, Any, "torch.device | str"], Callback | list[Callback]]


def _diagnosis(section: Diagnose, config: Config, game: Game, data: DataSet, device: torch.device | str) -> Callback:
    method = Method.of(config)
    return GameDiagnosis(game, data, section, config.data.batch_size, config.run.seed, device, method)


def _samples(section: Samples, config: Config, game: Game, data: DataSet, device: torch.device | str) -> Callback:
    generative = _generative(game, "samples")
    return SampleGrid(generative, data, section.every, section.count, config.run.seed, section.weights)


def _metrics(
    section: Evaluate, config: Config, game: Game, data: DataSet, device: torch.device | str, trust: bool
) -> list[Callback]:
    first = MetricEvaluation(
        _generative(game, "evaluate"), data, section, config.run.seed, config.run.folder, device, trust
    )
    return [first, *(first.also(weights) for weights in section.several_weights[1:])]


def _generative(game: Game, key: str) -> GenerativeGame:
    if not isinstance(game, GenerativeGame):
        raise UserError(
            f"{key}: the game {type(game).__name__} makes no samples; set it to null, or derive the game from "
            "gantrain.games.GenerativeGame"
        )
    if game.latent_dim < 1:  # which refuses a network without one
        raise UserError(f"{key}: expected a latent_dim of at least 1, got {game.latent_dim}")
    return game


def _advice(section: Advice, config: Config, game: Game, data: DataSet, device: torch.device | str) -> Callback:
    held_out = None if section.data is None else build("data", section.data, key="advice.data")
    return TrainingAdvice(_generative(game, "advice"), data, section.every, config.run.seed, held_out)


def _accuracy(section: Accuracy, config: Config, game: Game, data: DataSet, device: torch.device | str) -> Callback:
    other = build("data", section.data)
    require_known_labels(other, data.spec, "evaluate.data")
    attacks = game.attacks() if isinstance(game, PredictingGame) else {}
    bounds, scores = section.stop_if_worse_than, section.scores
    return AccuracyEvaluation(other, section.every, device, attacks=attacks, bounds=bounds, scores=scores)


def _correlation(
    section: Correlation, config: Config, game: Game, data: DataSet, device: torch.device | str
) -> Callback:
    other = build("data", section.data)
    require_known_labels(other, data.spec, "evaluate.data")
    attacks = game.attacks() if isinstance(game, PredictingGame) else {}
    return CorrelationEvaluation(other, section.every, device, attacks=attacks, bounds=section.stop_if_worse_than)


def _scalars(section: Scalars, config: Config, game: Game, data: DataSet, device: torch.device | str) -> list[Callback]:
    seed = config.run.seed
    names = [average.name for average in config.averages]
    live = GameScalars(game, section.every, best=not names, seed=seed)
    return [live, *(GameScalars(game, section.every, name, best=name == names[0], seed=seed) for name in names)]


def _pictures(section: Pictures, config: Config, game: Game, data: DataSet, device: torch.device | str) -> Callback:
    return GamePictures(game, section.every, config.run.seed)


_MAKERS: dict[str, Maker] = {
    "diagnosis": _diagnosis,
    "samples": _samples,
    "advice": _advice,
    "accuracy": _accuracy,
    "correlation": _correlation,
    "scalars": _scalars,
    "pictures": _pictures,
}
