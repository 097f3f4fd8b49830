"""The configs of ``gantrain train``, ``gantrain solve`` and ``gantrain map``, with all keys that they may have."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gantrain.config import merge
from gantrain.config.base import Schema, extended, nearest, one_of, problem_at
from gantrain.config.clock import in_images
from gantrain.config.groups import written_out
from gantrain.config.parts import (
    Part,
    PartOf,
    PerPlayer,
    class_attribute,
    game_players,
    part_arguments,
    part_name,
    path_model,
    player_arguments,
)
from gantrain.config.registry import kind as kind_of
from gantrain.config.schedules import schedules_in
from gantrain.config.sections import (
    CALLBACKS,
    EMA,
    WEIGHTS,
    Checkpoint,
    Data,
    Diagnose,
    FolderName,
    Log,
    Run,
)
from gantrain.config.types import (
    LARGEST_SINGLE,
    Draws,
    Float,
    Number,
    Order,
    OutputFolder,
    PositiveFloat,
    PositiveInt,
    Text,
    shown,
)

# The name of the data set of games that learn from no data.
_NO_DATA = "none"
# Keys that say what training sees of the data; a data set written as changes of another does not take them over.
_OF_TRAINING = ("random_resized_crop",)


class Config(Schema):
    """The config of a training run.

    A game may add sections of its own: the validated config is an instance of the subclass that :func:`config_of`
    makes for the game.
    """

    # The sections that configure the game's callbacks: key -> name of the callback.
    callback_names: ClassVar[dict[str, str]] = {}
    # The path of the game's class; empty before the game is known.
    game_path: ClassVar[str] = ""

    run: Run
    """The name, seed, budget and device of the run."""
    data: Data
    """The data set and the batch size."""
    game: Annotated[Any, PartOf("game")]
    """The game that is trained: its players, and what each of them minimises."""
    outer: Annotated[Any, PartOf("outer")] = {"name": "gda", "order": "alternating"}
    """The outer loop, which moves all players. Default: gda (gradient descent ascent) in alternating order."""
    ema: EMA | Annotated[tuple[EMA, ...], Field(min_length=1)] | None = None
    """An average of the weights of the network that is evaluated, such as the generator, or a list of several; null
    (the default) keeps none."""
    callbacks: tuple[Annotated[Any, PartOf("callback")], ...] = ()
    """Callbacks of your own, each by its target, which look at the run while it goes on. Default none."""
    diagnose: Diagnose | None = None
    """Measurements of the game's spectrum, rotation and sharpness during the run; null (the default) takes none."""
    log: Log = Log()
    """How often a row of scalars is logged."""
    checkpoint: Checkpoint = Checkpoint()
    """How often a checkpoint is written, and the number of checkpoints that are kept."""

    @property
    def averages(self) -> tuple[EMA, ...]:
        """The averages of the weights that the run keeps."""
        return self.ema if isinstance(self.ema, tuple) else () if self.ema is None else (self.ema,)

    @property
    def game_callbacks(self) -> dict[str, Any]:
        """The sections of the game's callbacks, by the callback's name. Sections that are null are left out."""
        sections = {name: getattr(self, key) for key, name in self.callback_names.items()}
        return {name: section for name, section in sections.items() if section is not None}

    @classmethod
    def absent(cls, key: str | int) -> str:
        if key not in ("evaluate", *CALLBACKS) or not cls.game_path:
            return ""
        return f", as the attribute callbacks of the game {cls.game_path.rpartition(':')[2]} names none"

    @classmethod
    def normalised(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if cls.game_path and isinstance(value.get("game"), Mapping):
            numbered = class_attribute("game", cls.game_path, "numbered") or {}
            value = {**value, "game": written_out(value["game"], path_model("game", cls.game_path), numbered)}
        if cls.game_path and not cls._takes_data():
            data = {} if value.get("data") is None else value["data"]
            unnamed = isinstance(data, Mapping) and not {"name", "target"} & data.keys()
            value = {**value, "data": {"name": _NO_DATA, **data} if unnamed else data}
        for key in ("evaluate", "advice"):
            section = value.get(key)
            if isinstance(section, Mapping) and section.get("data") is not None:
                data = _over_training_data(value.get("data"), section["data"], key)
                value = {**value, key: {**section, "data": data}}
        return value

    @classmethod
    def told(cls, errors: list[ErrorDetails]) -> list[ErrorDetails]:
        # The data set of another section takes over what is wrong with that of the training.
        wrong = {e["loc"][2:] for e in errors if e["loc"][:2] == ("data", "part")}
        return [e for e in errors if e["loc"][1:2] != ("data",) or e["loc"][2:] not in wrong]

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_game(cls, value: Any, handler: ModelWrapValidatorHandler) -> Any:
        if cls is not Config or not isinstance(value, Mapping) or "game" not in value:
            return handler(value)
        game, known = value["game"], kind_of("game").parts
        if isinstance(game, str):
            game = {"name": game}
        if not isinstance(game, Mapping):
            # Without its game, nobody knows which other sections the config may have.
            raise problem_at(("game",), f"expected a game ({one_of(known)}), got {shown(game)}", game)
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
    def _of_single_precision(self) -> Config:
        for key, value in _numbers(self.model_dump(mode="json", exclude={"run"})):
            if abs(value) > LARGEST_SINGLE:
                limit = f"expected a number of at most {LARGEST_SINGLE:.2g} in size, which single precision holds"
                raise problem_at(key, f"{limit}, got {shown(value)}", value)
        return self

    @classmethod
    def _takes_data(cls) -> bool:
        return class_attribute("game", cls.game_path, "takes_data") is not False

    @model_validator(mode="after")
    def _with_its_data(self) -> Config:
        given, game = getattr(self.data.part, "name", None) != _NO_DATA, part_name(self.game)
        if self._takes_data() and not given:
            raise problem_at(("data",), f"the game {game} learns from data; choose another data set than {_NO_DATA}")
        if given and not self._takes_data():
            raise problem_at(("data",), f"the game {game} takes no data; leave it out, or give data.batch_size alone")
        if self.run.kimg is not None and not self._takes_data():
            raise problem_at(("run", "kimg"), f"the game {game} sees no samples; use run.steps or run.gradients")
        for key in type(self).model_fields:
            if in_images(getattr(getattr(self, key), "every", None)) and not self._takes_data():
                message = f"the game {game} sees no samples; use a number of steps, or {{gradients: N}}"
                raise problem_at((key, "every"), message)
        return self

    @model_validator(mode="after")
    def _with_its_averages(self) -> Config:
        names = [average.name for average in self.averages]
        for i, average in enumerate(self.averages):
            key: tuple[str | int, ...] = ("ema", i) if isinstance(self.ema, tuple) else ("ema",)
            if average.name in names[:i]:
                raise problem_at((*key, "name"), f"an average is called {average.name} already; choose another name")
            if self._takes_data():
                continue
            if average.half_life_kimg is not None:
                message = f"the game {part_name(self.game)} sees no samples; use decay or uniform"
                raise problem_at((*key, "half_life_kimg"), message)
            if in_images(average.start):
                message = f"the game {part_name(self.game)} sees no samples; use a number of steps"
                raise problem_at((*key, "start"), message)
        return self

    @model_validator(mode="after")
    def _with_weights_to_evaluate(self) -> Config:
        names = [average.name for average in self.averages]
        sections = [(key, getattr(self, key)) for key in self.callback_names if hasattr(getattr(self, key), "weights")]
        for key, section in sections:
            listed = isinstance(section.weights, tuple)
            several = section.weights if listed else (section.weights,)
            for i, weights in enumerate(several):
                message = wrong_weights(weights, names) or ("is named twice" if weights in several[:i] else None)
                if message is not None:
                    raise problem_at((key, "weights", i) if listed else (key, "weights"), message, weights)
        return self

    @model_validator(mode="after")
    def _named_apart(self) -> Config:
        seen: dict[str, str] = {}
        for argument, players in player_arguments(self.game).items():
            for name in players:
                if name in seen:
                    message = f"a player is called {name} already, in game.{seen[name]}; choose another name"
                    raise problem_at(("game", argument, name), message)
                seen[name] = argument
        return self

    @model_validator(mode="after")
    def _climbable(self) -> Config:
        losses = [
            part for part in part_arguments(self.game).values() if isinstance(part, Part) and part.part_kind == "loss"
        ]
        game = self.game.part_class
        without = class_attribute("game", game, "without_margins") or ()
        for name, player in game_players(self.game).items():
            climb = getattr(player.sharpness, "climb", "loss")
            if climb != "loss" and (name in without or class_attribute("game", game, "without_losses")):
                raise problem_at(
                    ("game", name, "sharpness", "climb"),
                    f"{climb} climbs the margins of a classification, but the objective of this player is none; use "
                    "climb: loss",
                )
            for loss in losses if climb != "loss" else []:
                if class_attribute("loss", loss.part_class, "classifies") is False:
                    raise problem_at(
                        ("game", name, "sharpness", "climb"),
                        f"{climb} climbs the margins of a classification, but the {part_name(loss)} loss has no "
                        "margins; use climb: loss, or another loss",
                    )
        return self

    @model_validator(mode="after")
    def _selectable(self) -> Config:
        if not class_attribute("game", self.game.part_class, "without_losses"):
            return self
        for name, player in game_players(self.game).items():
            part = player.sharpness
            if part is not None and part_name(part) == "esam" and part.gamma < 1:
                raise problem_at(
                    ("game", name, "sharpness", "gamma"),
                    "esam with gamma below 1 selects rows of the batch, and this game has none; use gamma: 1",
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
            message = f"expected a multiple of {of}, because a batch is divided equally among them, got {size}"
            raise problem_at(("data", "batch_size"), message, kind="absent")
        return self


@functools.cache
def config_of(game: str) -> type[Config]:
    """The config class for the runs of a game, with a section for each of the game's callbacks.

    Args:
        game: the path of the game's class, ``package.module:Class``.

    Raises:
        ValidationError: the class is the user's own, and no game or not to be imported.
    """
    keys = path_model("game", game).model_fields
    callbacks, numbered, better = (_mapping(game, attribute) for attribute in ("callbacks", "numbered", "better"))
    for key in (key for pair in numbered.items() for key in pair):
        if key not in keys:
            raise problem_at(("target",), f"{game}: numbered: {key!r} is no argument of the game", game)
    if not set(better.values()) <= {"lower", "higher"}:
        raise problem_at(("target",), f"{game}: better: expected 'lower' or 'higher' for each scalar", game)
    fields: dict[str, Any] = {}
    for key, name in callbacks.items():
        if key in Config.model_fields:
            raise problem_at(
                ("target",), f"{game}: callbacks: {key!r} is a section of every config; choose another", game
            )
        if name not in CALLBACKS:
            raise problem_at(
                ("target",), f"{game} has an unknown callback {name!r}; expected {one_of(CALLBACKS)}", game
            )
        section = CALLBACKS[name]
        default = section() if getattr(section, "by_default", False) else None
        fields[key] = (section | None, Field(default, description=section.__doc__))
    if class_attribute("game", game, "takes_data") is False:
        fields["data"] = (
            Data,
            Field({"name": _NO_DATA}, description="The number of rows of random numbers in a batch."),
        )
    config: type[Config] = extended(Config, "Config", Config.__doc__, fields)
    config.callback_names = dict(callbacks)
    config.game_path = game
    return config


def wrong_weights(weights: str | None, averages: Sequence[str]) -> str | None:
    """What is wrong with weights that are to be evaluated, and what to do; None if nothing is.

    Args:
        weights: the name of an average, ``live`` or ``anchor``; None for the default.
        averages: the names of the averages that the run keeps.
    """
    known = (*averages, *WEIGHTS)
    if weights is None or weights in known:
        return None
    if weights == "ema" and not averages:
        return "ema was asked for, and the run keeps no average; add ema: {decay: 0.999}"
    return f"expected {one_of(known)}, got {shown(weights)}{nearest(weights, known)}"


def _mapping(game: str, attribute: str) -> Mapping[str, Any]:
    """A class attribute of a game that is a dict of texts."""
    value = class_attribute("game", game, attribute) or {}
    texts = (*value, *value.values()) if isinstance(value, Mapping) else (None,)
    if not all(isinstance(text, str) for text in texts):
        raise problem_at(
            ("target",), f"{game}: {attribute}: expected a dict from text to text, got {shown(value)}", game
        )
    return value


def _numbers(value: Any, key: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """The numbers in a config, as plain data, that need not be whole, and their keys."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, dict | list):
        for name, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inside, (*key, name))


def _over_training_data(training: Any, changes: Any, section: str) -> Any:
    """The config of a section's data set: that of the training data with some keys changed."""
    if isinstance(training, Mapping):
        training = {key: value for key, value in training.items() if key not in {*Data.kept(), *_OF_TRAINING}}
    return merge.merge(training, changes, (section, "data"))


class _WithoutRun(Schema):
    """A config without a run, by whose images a schedule would go."""

    @model_validator(mode="after")
    def _constant(self) -> _WithoutRun:
        for key, _ in schedules_in(self):
            raise problem_at(key, "a schedule goes by the images that a run has seen; give a number here")
        return self


class SolveConfig(_WithoutRun):
    """A toy game and the way in which it is solved."""

    name: Annotated[str, FolderName()]
    """The name of the results, which are written into ``folder/name``. No path separators."""
    game: Annotated[Any, PartOf("toy")]
    """The toy game."""
    outer: Annotated[Any, PartOf("outer")] = "gda"
    """The outer loop, which moves all players. Default: gda (gradient descent ascent)."""
    optimizer: Annotated[Any, PerPlayer("optimizer")] = {"name": "sgd", "lr": 0.1}
    """One optimizer for all players, or one for each player. Default: sgd with lr = 0.1."""
    order: Order | None = None
    """The order in which the players move, unless the outer loop sets its own. Null (the default): simultaneous."""
    samples: Draws | None = None
    """Whether each inner move of a step takes a fresh batch or all take the same, unless the outer loop sets its own.
    Null (the default): fresh."""
    constraint: Annotated[Any, PerPlayer("constraint")] | None = None
    """A set or a penalty for each player; under the key ``joint``, one for all players together. Default none."""
    sharpness: Annotated[Any, PerPlayer("sharpness")] | None = None
    """A sharpness-aware gradient for all players, or for some. Default none: the plain gradient."""
    steps: PositiveInt = 100
    """The number of outer steps. Default 100."""
    folder: OutputFolder = "checkpoints"
    """The folder that holds the results, relative to the current directory. Default checkpoints."""


class Axis(Schema):
    """An axis of a convergence map."""

    key: Text
    """The quantity that varies along the axis: rho, gamma, or a key of the outer loops, such as relaxation, inner_steps
    or base.relaxation."""
    low: Float
    """The first value."""
    high: Float
    """The last value."""
    count: Annotated[int, Number(whole=True, least=1, most=10_000)] = 41
    """The number of values, which are evenly spaced. Default 41."""


class MapConfig(_WithoutRun):
    """A convergence map: where outer loops contract on the quadratic game with Lipschitz constant L."""

    name: Annotated[str, FolderName()]
    """The name of the results, which are written into ``folder/name``. No path separators."""
    outers: Annotated[list[Annotated[Any, PartOf("outer")]], Field(min_length=1)]
    """The outer loops. Each of them gets a map of its own."""
    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    rho: Float = -0.3
    """The game's cohypomonotonicity, times L, unless an axis varies it. Default -0.3."""
    gamma: PositiveFloat = 0.9
    """The step size, times L, unless an axis varies it. Default 0.9."""
    order: Order | None = None
    """The order in which the players move, unless the outer loop sets its own. Null (the default): simultaneous."""
    steps: PositiveInt = 40
    """The number of outer steps of each run that is measured. Default 40."""
    folder: OutputFolder = "checkpoints"
    """The folder that holds the results, relative to the current directory. Default checkpoints."""
