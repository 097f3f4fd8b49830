"""The sections of the configs: what may be written in each, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import InitErrorDetails

from gantrain.config.base import Schema, problem, problem_at
from gantrain.config.parts import PartOf, PartOver
from gantrain.config.types import (
    Bool,
    FractionBelowOne,
    NonNegativeInt,
    Number,
    PositiveFloat,
    PositiveInt,
    Text,
    Words,
)


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
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the networks' arithmetic; parameters, losses and penalties are always fp32. In fp16 a multiple of each loss is
    differentiated (loss_scale in the log), which is halved wherever the gradient overflows; a gradient penalty through
    batch norm may overflow at any, and wants bf16. Default fp32."""
    tf32: Bool = False
    """Whether a GPU computes products and convolutions of fp32 in TF32, which keeps 10 bits of fraction for 23. Changes
    nothing on a CPU. Default false: full single precision, also in convolutions, for which torch alone takes TF32."""
    compile: Bool = False
    """Whether the networks go through torch.compile, which needs a C++ compiler on the machine and a minute at first.
    Penalties, samples, evaluations and diagnoses run uncompiled. Default false."""
    channels_last: Bool = False
    """Whether images and the weights of convolutions lie in memory with their channels last, which is fastest for
    convolutions, above all in half precision on a GPU. Default false."""
    processes: PositiveInt | None = None
    """Processes that must run; null (the default) takes as many as were launched."""
    threads: PositiveInt | None = None
    """CPU threads of each process; null (the default) leaves them to torch. Small networks are fastest with one."""
    batch_norm: Literal["sync", "local"] = "sync"
    """Whether batch norm looks at the batch of all processes (sync, the default) or of each alone (local); of micro-
    batches, if there are any, at one at a time."""

    @model_validator(mode="after")
    def _usable(self) -> Run:
        if self.steps is None and self.gradients is None and self.kimg is None:
            raise problem("says nowhere when to stop; expected at least one of steps, gradients, kimg")
        return self

    def used(self, steps: int, gradients: int, kimg: float) -> float:
        """The share of the budget that is used up by as much as that: 1 or more when the run is over."""
        amounts = ((steps, self.steps), (gradients, self.gradients), (kimg, self.kimg))
        return max(amount / budget for amount, budget in amounts if budget is not None)


class Data(Schema):
    """The data set, and how much of it is seen at once. The data set's keys stand beside these."""

    part: Annotated[Any, PartOf("data")]
    batch_size: PositiveInt = 64
    """Samples in a batch over all processes together. Default 64."""
    accumulation: PositiveInt = 1
    """Micro-batches into which each process cuts its share of a batch, one after the other, to take the gradient of the
    same batch in less memory. They are to a run what as many processes would be: batch norm and m-sharpness see each
    alone. A diagnosis takes batches whole. Default 1."""
    storage: Literal["auto", "device", "memory", "disk"] = "auto"
    """Where the samples are kept: on the device; in memory; on disk, where they are read again in each epoch. auto (the
    default) takes the first of these into which they fit comfortably. Batches are the same."""
    workers: NonNegativeInt | None = None
    """Processes that read ahead from disk, for each process of the run; null (the default) takes one for each core, at
    most 8; 0 reads when a batch is needed."""

    @classmethod
    def beside(cls) -> set[str]:
        """The keys of the section that are not the data set's."""
        return cls.model_fields.keys() - {"part"}

    @classmethod
    def normalised(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return {"part": value}
        part = {k: v for k, v in value.items() if k not in cls.beside()}
        return {"part": part} | {k: v for k, v in value.items() if k in cls.beside()}

    @classmethod
    def _explained(cls, error: Any) -> InitErrorDetails:
        if error["type"] == "unknown" and len(error["loc"]) == 2:
            error["ctx"]["known"] += [key for key in cls.model_fields if key in cls.beside()]
        return super()._explained(error)

    @model_serializer(mode="wrap")
    def _joined(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain = handler(self)
        return {**plain.pop("part"), **plain}


class Inception(Schema):
    """The InceptionV3 by which FID, IS and KID are defined."""

    name: Literal["inception"] = "inception"
    """The kind of features."""
    weights: Annotated[str, FolderPath()] | None = None
    """The file of its weights; null (the default) looks where torch-fidelity keeps it, and then downloads it."""
    digest: Text | None = None
    """SHA-256 of other weights than the published, or its first 8 or more digits; values are then not called FID."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Evaluate(Schema):
    """How near a generator's samples are to data, measured while it trains; null measures nothing."""

    every: PositiveInt = 1000
    """Training steps from one evaluation to the next. Default 1000."""
    metrics: Annotated[tuple[Literal["fid", "isc", "kid", "prc", "ppl"], ...], Field(min_length=1)] = ("fid",)
    """fid (Fréchet distance, the default), isc (Inception score), kid (kernel distance), prc (precision and recall),
    ppl (perceptual path length)."""
    samples: PositiveInt = 10000
    """Samples that are drawn for it. Default 10000; published FIDs have 50000."""
    weights: Literal["ema", "live", "anchor"] | None = None
    """Whose samples: the averaged weights (the default, where there are any), those of the optimizer, or the last outer
    iterate."""
    features: Inception | Annotated[str, FolderPath()] = Inception()
    """inception (the default), or the folder of a run of a classification, whose features are then taken."""
    data: Annotated[Any, PartOver("data")] | None = None
    """What the samples are compared with: keys that differ from those of the training data, which are the default."""
    subset_size: Annotated[int, Number(whole=True, least=2)] = 1000
    """Samples in each of the subsets of which kid is a mean. Default 1000."""
    infinity: Bool = False
    """Whether fid is extrapolated to infinitely many samples as well. Default false."""
    batch_size: PositiveInt = 64
    """Images that the network of the features sees at once. Default 64."""
    best: Literal["fid", "isc", "kid", "precision", "recall", "ppl"] | None = None
    """The metric whose best checkpoint is kept in the folder best; null (the default) takes the first of metrics."""

    @model_validator(mode="after")
    def _measured(self) -> Evaluate:
        needed = {"precision": "prc", "recall": "prc"}.get(self.best or "", self.best)
        if needed is not None and needed not in self.metrics:
            raise problem_at(("best",), f"{self.best} is not measured; add {needed} to evaluate.metrics")
        return self


class Accuracy(Schema):
    """A classifier's accuracy on data that it does not learn from; null evaluates none."""

    data: Annotated[Any, PartOver("data")]
    """The data set. Keys that are left away are those of the training data."""
    every: PositiveInt = 500
    """Training steps from one evaluation to the next. Default 500."""


class Diagnose(Schema):
    """What the game looks like about its present point, measured while it trains."""

    every: PositiveInt = 1000
    """Training steps from one diagnosis to the next. Default 1000."""
    batches: PositiveInt = 3
    """Batches on which it is measured, for the spread. Default 3."""
    eigenvalues: PositiveInt = 4
    """How many of each kind. Default 4."""
    radius: PositiveFloat = 0.05
    """Radius of the ball in which each player's sharpness is measured. Default 0.05."""


class EMA(Schema):
    """An exponential moving average of the weights of the generator, or of the classifier."""

    decay: FractionBelowOne = 0.999
    """Share of the average that is kept at each training step, at least 0 and below 1. Default 0.999."""


class Log(Schema):
    """Scalars in metrics.jsonl and TensorBoard."""

    every: PositiveInt = 20
    """Training steps from one row to the next. Default 20."""


class Samples(Schema):
    """Grids of generated samples: how often they are drawn, and how many samples; null draws none."""

    by_default: ClassVar[bool] = True

    every: PositiveInt = 500
    """Training steps from one grid to the next. Default 500."""
    count: PositiveInt = 64
    """Samples in a grid. Default 64."""


# What a game may have looked at while it trains: the section that configures it, by its name in ``Game.callbacks``.
CALLBACKS: dict[str, type[Schema]] = {"samples": Samples, "metrics": Evaluate, "accuracy": Accuracy}


class Checkpoint(Schema):
    """What a run can be resumed from."""

    every: PositiveInt = 500
    """Training steps from one checkpoint to the next. Default 500."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints are kept. Default 2."""
