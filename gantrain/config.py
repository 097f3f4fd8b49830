"""The config of a training run, and of ``gantrain solve``: what may be written in the YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator
from pydantic_core import InitErrorDetails

from gantrain import json_schemas, merging, yaml_files
from gantrain.errors import UserError
from gantrain.registry import PartOf, PartOver, PerPlayer
from gantrain.schema import Schema, lines, problem, problem_at
from gantrain.types import Bool, NonNegativeInt, Number, PositiveFloat, PositiveInt, Words

AnySchema = TypeVar("AnySchema", bound=Schema)


class FolderName(Words):
    """The name of a folder in another."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = "the name of a folder, without separators"

    def convert(self, value: Any) -> str:
        value = super().convert(value)
        if value.strip() in ("", ".", "..") or any(c in value for c in "/\\\0"):
            raise ValueError
        return value


class FolderPath(Words):
    """The path of a folder."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = "the path of a folder"

    def convert(self, value: Any) -> str:
        value = super().convert(value)
        if not value.strip() or "\0" in value:
            raise ValueError
        return value


class Run(Schema):
    """How long a run lasts, where, and under what name."""

    name: Annotated[str, FolderName()]
    """The run's name: its folder is ``folder/name``. No path separators."""
    seed: NonNegativeInt = 0
    """Everything random is derived from it, whatever the number of processes. Default 0."""
    steps: PositiveInt | None = None
    """Training steps (steps of the innermost outer loop). The run stops at the first of steps, gradients and kimg."""
    gradients: PositiveInt | None = None
    """Gradient evaluations of the player that is evaluated most."""
    kimg: PositiveFloat | None = None
    """Thousands of real samples seen, over all processes."""
    folder: Annotated[str, FolderPath()] = "checkpoints"
    """Where runs lie. Default checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto (the default) takes a GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the networks' arithmetic; parameters are always fp32. Default fp32."""
    processes: PositiveInt | None = None
    """Processes that must run; null (the default) takes as many as were launched."""
    batch_norm: Literal["sync", "local"] = "sync"
    """Whether batch norm looks at the batch of all processes (sync, the default) or of each alone (local)."""

    @model_validator(mode="after")
    def _usable(self) -> Run:
        if self.steps is None and self.gradients is None and self.kimg is None:
            raise problem("says nowhere when to stop; expected at least one of steps, gradients, kimg")
        return self


class Data(Schema):
    """The data set, and how much of it is seen at once. The data set's keys stand beside ``batch_size``."""

    part: Annotated[Any, PartOf("data")]
    batch_size: PositiveInt = 64
    """Samples in a batch over all processes together. Default 64."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return {"part": value}
        part = {k: v for k, v in value.items() if k != "batch_size"}
        return {"part": part} | {k: v for k, v in value.items() if k == "batch_size"}

    @classmethod
    def _explained(cls, error: Any) -> InitErrorDetails:
        if error["type"] == "unknown" and len(error["loc"]) == 2:
            error["ctx"]["known"].append("batch_size")
        return super()._explained(error)

    @model_serializer(mode="wrap")
    def _joined(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain = handler(self)
        return {**plain.pop("part"), **plain}


class Learning(Schema):
    """A player: its network and how it learns."""

    model: Any
    optimizer: Annotated[Any, PartOf("optimizer")]
    """Any optimizer of torch.optim by its lower-case name, with its own keys."""
    scheduler: Annotated[Any, PartOf("scheduler")] | None = None
    """Any scheduler of torch.optim.lr_scheduler by its lower-case name; its clock is the training step."""
    sharpness: Annotated[Any, PartOf("sharpness")] | None = None
    """A sharpness-aware gradient; null (the default) is the plain one."""
    constraint: Annotated[Any, PartOf("constraint")] | None = None
    """A set or a penalty on all of the player's parameters, applied after each move; none by default."""


class Generator(Learning):
    """The generator: its network and how it learns."""

    model: Annotated[Any, PartOf("generator")]
    """The network."""


class Discriminator(Learning):
    """The discriminator: its network and how it learns."""

    model: Annotated[Any, PartOf("discriminator")]
    """The network."""


class GAN(Schema):
    """A generative adversarial network."""

    name: Literal["gan"]
    """The kind of game."""
    loss: Annotated[Any, PartOf("loss")]
    """The loss of both players."""
    penalties: tuple[Annotated[Any, PartOf("penalty")], ...] = ()
    """Terms added to the discriminator's objective. Default none."""
    conditional: Bool = False
    """Whether the networks are told the class of each sample. Default false."""
    generator: Generator
    """The player that makes samples."""
    discriminator: Discriminator
    """The player that tells samples from data; it moves first."""

    @model_validator(mode="after")
    def _climbable(self) -> GAN:
        for player in ("generator", "discriminator"):
            climb = getattr(getattr(self, player).sharpness, "climb", "loss")
            if climb != "loss" and getattr(self.loss, "name", None) == "wasserstein":
                raise problem_at(
                    (player, "sharpness", "climb"),
                    f"{climb} climbs the margins of a classification, and the wasserstein loss is none; use climb: "
                    "loss, or another loss",
                )
        return self


class Classifier(Learning):
    """The classifier: its network and how it learns."""

    model: Annotated[Any, PartOf("classifier")]
    """The network."""


class Classification(Schema):
    """The game with one player: a classifier and the cross-entropy."""

    name: Literal["classification"]
    """The kind of game."""
    label_smoothing: Annotated[float, Number(least=0, below=1)] = 0.0
    """Share of the target distribution that is spread over all classes. Default 0."""
    standardise: Bool = False
    """Whether the channels of the network's input have mean 0 and standard deviation 1 over the training data; else
    images lie in [-1, 1]. Default false."""
    augmentations: tuple[Annotated[Any, PartOf("augmentation")], ...] = ()
    """What is done to the training samples, in this order. Default nothing."""
    classifier: Classifier
    """The player."""


class Evaluate(Schema):
    """A classifier's accuracy on data that it does not learn from."""

    data: Annotated[Any, PartOver("data")]
    """The data set. Keys that are left away are those of the training data."""
    every: PositiveInt = 500
    """Training steps from one evaluation to the next. Default 500."""


class EMA(Schema):
    """An exponential moving average of the weights of the generator, or of the classifier."""

    decay: Annotated[float, Number(least=0, below=1)] = 0.999
    """Share of the average that is kept at each training step, at least 0 and below 1. Default 0.999."""


class Log(Schema):
    """Scalars in metrics.jsonl and TensorBoard."""

    every: PositiveInt = 20
    """Training steps from one row to the next. Default 20."""


class Samples(Schema):
    """Grids of generated samples."""

    every: PositiveInt = 500
    """Training steps from one grid to the next. Default 500."""
    count: PositiveInt = 64
    """Samples in a grid. Default 64."""


class Checkpoint(Schema):
    """What a run can be resumed from."""

    every: PositiveInt = 500
    """Training steps from one checkpoint to the next. Default 500."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints are kept. Default 2."""


class Config(Schema):
    """A training run."""

    run: Run
    """Name, seed, budget, device."""
    data: Data
    """The data set and the batch size."""
    game: Annotated[GAN | Classification, Field(discriminator="name")]
    """Who plays, and for what."""
    outer: Annotated[Any, PartOf("outer")] = {"name": "gda", "order": "alternating"}
    """How the players' joint iterate moves. Default: alternating gradient descent ascent."""
    ema: EMA | None = None
    """An average of the weights of the generator, or of the classifier; null (the default) keeps none."""
    log: Log = Log()
    """How often scalars are written."""
    samples: Samples | None = None
    """How often samples of a GAN are drawn, and how many; null draws none. Default: 64 every 500 steps."""
    evaluate: Evaluate | None = None
    """On what data a classifier is evaluated; null (the default) evaluates none."""
    checkpoint: Checkpoint = Checkpoint()
    """How often checkpoints are written, and how many are kept."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        if isinstance(value.get("game"), Mapping) and value["game"].get("name") == "gan":
            value.setdefault("samples", {})
        evaluate = value.get("evaluate")
        if isinstance(evaluate, Mapping) and isinstance(value.get("data"), Mapping):
            training = {key: v for key, v in value["data"].items() if key != "batch_size"}
            value["evaluate"] = {**evaluate, "data": merging.merge(training, evaluate.get("data", {}), ("evaluate",))}
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        if isinstance(self.game, GAN) and self.evaluate is not None:
            raise problem_at(("evaluate",), "measures the accuracy of a classifier, which a gan has not; leave it away")
        if isinstance(self.game, Classification) and self.samples is not None:
            raise problem_at(("samples",), "only a gan draws samples, and this game is a classification; leave it away")
        return self

    @model_validator(mode="after")
    def _divisible(self) -> Config:
        size, processes = self.data.batch_size, self.run.processes
        if processes is not None and size % processes:
            raise problem_at(
                ("data", "batch_size"),
                f"expected a multiple of run.processes = {processes}, since it counts all of them together, got {size}",
                kind="absent",
            )
        return self


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


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a training run.

    Args:
        path: of the YAML file.
        overrides: ``a.b.c=value``, merged over the file.

    Raises:
        UserError: what is wrong, one line for each problem.
    """
    return _load(Config, path, overrides)


def load_solve(path: str | Path, overrides: Sequence[str] = ()) -> SolveConfig:
    """The config of ``gantrain solve``; see :func:`load`."""
    return _load(SolveConfig, path, overrides)


def resolved(config: Schema) -> dict[str, Any]:
    """The config as plain data, every default filled in."""
    return config.model_dump(mode="json")


def dump(config: Schema) -> str:
    """The config as YAML that loads back to the same."""
    return yaml_files.text(resolved(config))


def json_schema(solve: bool = False) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a training run's config, or of the one of ``gantrain solve``."""
    return json_schemas.describe(SolveConfig if solve else Config)


def _load(schema: type[AnySchema], path: str | Path, overrides: Sequence[str]) -> AnySchema:
    files = merging.read_files(Path(path))
    content = merging.merge_files(files)
    tree, overridden = merging.parse_overrides(overrides)
    if not content:
        raise UserError(f"{path}: is empty; expected a mapping with the keys {', '.join(schema.model_fields)}")
    content = merging.merge(content, tree)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        found = lines(error, content)
    given = tuple(f"{key}." for key in overridden)
    where = ("command line" if f"{key}.".startswith(given) else merging.origin(files, key) for key, _ in found)
    raise UserError("\n".join(f"{place}: {key}: {what}" for place, (key, what) in zip(where, found, strict=True)))
