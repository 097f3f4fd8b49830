"""What may be written in the configs of ``gantrain train``, ``gantrain solve`` and ``gantrain map``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from gantrain.config import merge
from gantrain.config.base import Schema, nearest, one_of, problem_at
from gantrain.config.parts import PartOf, PerPlayer
from gantrain.config.sections import (
    EMA,
    GAN,
    Accuracy,
    Checkpoint,
    Classification,
    Data,
    Diagnose,
    Evaluate,
    FolderName,
    FolderPath,
    Log,
    Run,
    Samples,
)
from gantrain.config.types import Float, PositiveFloat, PositiveInt, Text, shown


class Config(Schema):
    """A training run; validating one gives the config of its kind of game."""

    run: Run
    """Name, seed, budget, device."""
    data: Data
    """The data set and the batch size."""
    game: Any
    """Who plays, and for what."""
    outer: Annotated[Any, PartOf("outer")] = {"name": "gda", "order": "alternating"}
    """How the players' joint iterate moves. Default: alternating gradient descent ascent."""
    ema: EMA | None = None
    """An average of the weights of the generator, or of the classifier; null (the default) keeps none."""
    diagnose: Diagnose | None = None
    """Spectrum, rotation and sharpness of the game, measured now and then; null (the default) measures nothing."""
    log: Log = Log()
    """How often scalars are written."""
    checkpoint: Checkpoint = Checkpoint()
    """How often checkpoints are written, and how many are kept."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        evaluate = value.get("evaluate") if isinstance(value, Mapping) else None
        if not isinstance(evaluate, Mapping):
            return value
        return {**value, "evaluate": {**evaluate, "data": _over_training_data(value.get("data"), evaluate.get("data"))}}

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_game(cls, value: Any, handler: ModelWrapValidatorHandler) -> Any:
        if cls is not Config or not isinstance(value, Mapping) or not isinstance(value.get("game"), Mapping):
            return handler(value)
        name = value["game"].get("name", "gan")
        if name in GAMES:
            return GAMES[name].model_validate(value)
        raise problem_at(("game", "name"), f"expected {one_of(GAMES)}, got {shown(name)}{nearest(name, GAMES)}", name)

    @model_validator(mode="after")
    def _divisible(self) -> Config:
        size, shares = self.data.batch_size, {}
        if self.run.processes is not None:
            shares["run.processes"] = self.run.processes
        if self.data.accumulation > 1:
            shares["data.accumulation"] = self.data.accumulation
        if size % math.prod(shares.values()):
            of = " * ".join(f"{key} = {number}" for key, number in shares.items())
            message = f"expected a multiple of {of}, since it counts all of them together, got {size}"
            raise problem_at(("data", "batch_size"), message, kind="absent")
        return self


class GANConfig(Config):
    """A training run of a GAN."""

    game: GAN
    """Who plays, and for what."""
    samples: Samples | None = Samples()
    """How often samples are drawn, and how many; null draws none."""
    evaluate: Evaluate | None = None
    """How near the samples are to data, measured now and then; null (the default) measures nothing."""


class ClassificationConfig(Config):
    """A training run of a classifier."""

    game: Classification
    """Who plays, and for what."""
    evaluate: Accuracy | None = None
    """On what data the classifier is evaluated; null (the default) evaluates none."""


GAMES = {"gan": GANConfig, "classification": ClassificationConfig}


def _over_training_data(training: Any, changes: Any) -> Any:
    """A data set that is written as what it changes of the training data."""
    if isinstance(training, Mapping):
        training = {key: value for key, value in training.items() if key not in Data.beside()}
    return merge.merge(training, {} if changes is None else changes, ("evaluate", "data"))


class SolveConfig(Schema):
    """A toy game and how it is solved."""

    name: Annotated[str, FolderName()]
    """What the results are called: they lie in ``folder/name``. No path separators."""
    game: Annotated[Any, PartOf("toy")]
    """The game."""
    outer: Annotated[Any, PartOf("outer")] = "gda"
    """How the players' joint iterate moves. Default: gradient descent ascent."""
    optimizer: Annotated[Any, PerPlayer("optimizer")] = {"name": "sgd", "lr": 0.1}
    """One optimizer for all players, or one for each. Default: sgd with lr = 0.1."""
    order: Literal["simultaneous", "alternating"] | None = None
    """In which order the players move, unless the outer loop says it. Null (the default): simultaneous."""
    samples: Literal["same", "fresh"] | None = None
    """Whether the inner moves of a step see the same batch, unless the loop says it. Null (the default): fresh."""
    constraint: Annotated[Any, PerPlayer("constraint")] | None = None
    """A set or penalty for each player; under ``joint``, one for all players together. Default none."""
    sharpness: Annotated[Any, PerPlayer("sharpness")] | None = None
    """A sharpness-aware gradient for all players, or for some. Default none."""
    steps: PositiveInt = 100
    """Outer steps. Default 100."""
    folder: Annotated[str, FolderPath()] = "checkpoints"
    """Where results lie. Default checkpoints."""


class Axis(Schema):
    """An axis of a convergence map."""

    key: Text
    """What varies: rho, gamma, or a key of the outer loops, such as relaxation, inner_steps or base.relaxation."""
    low: Float
    """The first value."""
    high: Float
    """The last value."""
    count: PositiveInt = 41
    """How many values, evenly spaced. Default 41."""


class MapConfig(Schema):
    """A convergence map: where outer loops contract on the quadratic game with Lipschitz constant L."""

    name: Annotated[str, FolderName()]
    """What the results are called: they lie in ``folder/name``. No path separators."""
    outers: Annotated[list[Annotated[Any, PartOf("outer")]], Field(min_length=1)]
    """The outer loops, each with a map of its own."""
    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    rho: Float = -0.3
    """The game's cohypomonotonicity, times L, unless an axis says it. Default -0.3."""
    gamma: PositiveFloat = 0.9
    """The step size, times L, unless an axis says it. Default 0.9."""
    order: Literal["simultaneous", "alternating"] | None = None
    """In which order the players move, unless the outer loop says it. Null (the default): simultaneous."""
    steps: PositiveInt = 40
    """Outer steps of each run that is measured. Default 40."""
    folder: Annotated[str, FolderPath()] = "checkpoints"
    """Where results lie. Default checkpoints."""
