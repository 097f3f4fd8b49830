"""What may be written in the configs of ``gantrain train``, ``gantrain solve`` and ``gantrain map``."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, create_model, model_validator

from gantrain.config import merge
from gantrain.config.base import Schema, nearest, one_of, problem_at
from gantrain.config.parts import Part, PartOf, PerPlayer, class_attribute, game_players, part_arguments, part_name
from gantrain.config.registry import kind as kind_of
from gantrain.config.sections import (
    CALLBACKS,
    EMA,
    Checkpoint,
    Data,
    Diagnose,
    FolderName,
    FolderPath,
    Log,
    Run,
)
from gantrain.config.types import Draws, Float, Order, PositiveFloat, PositiveInt, Text, shown


class Config(Schema):
    """A training run; validating one gives the config of its game, which may have more sections."""

    # The sections of the game's own callbacks: key -> name of the callback.
    callback_names: ClassVar[dict[str, str]] = {}

    run: Run
    """Name, seed, budget, device."""
    data: Data
    """The data set and the batch size."""
    game: Annotated[Any, PartOf("game")]
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

    @property
    def callbacks(self) -> dict[str, Any]:
        """The sections of the game's callbacks, by the callback's name; without those that are null."""
        sections = {name: getattr(self, key) for key, name in self.callback_names.items()}
        return {name: section for name, section in sections.items() if section is not None}

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
        game, known = value["game"], kind_of("game").parts
        if isinstance(game.get("target"), str) and "name" not in game:
            try:
                own = config_of(game["target"])
            except ValidationError as error:
                raise problem_at(("game", "target"), error.errors()[0]["msg"], game["target"]) from None
            return own.model_validate(value)
        name = game.get("name", "gan")
        if isinstance(name, str) and name in known:
            return config_of(known[name]).model_validate(value)
        raise problem_at(("game", "name"), f"expected {one_of(known)}, got {shown(name)}{nearest(name, known)}", name)

    @model_validator(mode="after")
    def _climbable(self) -> Config:
        losses = [
            part for part in part_arguments(self.game).values() if isinstance(part, Part) and part.part_kind == "loss"
        ]
        for name, player in game_players(self.game).items():
            climb = getattr(player.sharpness, "climb", "loss")
            for loss in losses if climb != "loss" else []:
                if class_attribute(loss.part_class, "classifies") is False:
                    raise problem_at(
                        ("game", name, "sharpness", "climb"),
                        f"{climb} climbs the margins of a classification, and the {part_name(loss)} loss is none; use "
                        "climb: loss, or another loss",
                    )
        return self

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


@functools.cache
def config_of(game: str) -> type[Config]:
    """The config of the runs of a game, with the sections of what is looked at while it trains.

    Args:
        game: the game's class, ``package.module:Class``.

    Raises:
        ValidationError: the class is the user's own and does not import.
    """
    callbacks = class_attribute(game, "callbacks") or {}
    fields: dict[str, Any] = {}
    for key, name in callbacks.items():
        if name not in CALLBACKS:
            raise problem_at(
                ("target",), f"{game} has an unknown callback {name!r}; expected {one_of(CALLBACKS)}", game
            )
        section = CALLBACKS[name]
        default = section() if getattr(section, "by_default", False) else None
        fields[key] = (section | None, Field(default, description=section.__doc__))
    config: type[Config] = create_model("Config", __base__=Config, __doc__=Config.__doc__, **fields)
    config.callback_names = callbacks
    return config


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
    order: Order | None = None
    """In which order the players move, unless the outer loop says it. Null (the default): simultaneous."""
    samples: Draws | None = None
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
    order: Order | None = None
    """In which order the players move, unless the outer loop says it. Null (the default): simultaneous."""
    steps: PositiveInt = 40
    """Outer steps of each run that is measured. Default 40."""
    folder: Annotated[str, FolderPath()] = "checkpoints"
    """Where results lie. Default checkpoints."""
