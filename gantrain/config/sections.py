"""The sections of the configs: their keys, and what each key means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import InitErrorDetails, core_schema

from gantrain.config.base import Schema, nearest, one_of, problem, problem_at
from gantrain.config.features import Features, PublishedNetwork, own_features
from gantrain.config.metrics import BEST, METRICS, MetricDescription, own_description
from gantrain.config.parts import NameOrPart, Part, PartOf, PartOver, class_attribute, part_name, plain, validate
from gantrain.config.registry import kind
from gantrain.config.schedules import Scheduled
from gantrain.config.signatures import Signature
from gantrain.config.types import (
    Bool,
    Bounds,
    Interval,
    NonNegativeInt,
    Number,
    OutputFolder,
    PositiveFloat,
    PositiveInt,
    Text,
    Words,
    shown,
)

# Where the rows of the log go as events in the run's folder, which no tracker of Accelerate's writes.
TENSORBOARD = "tensorboard"
# The seconds that processes wait for each other, unless run.timeout says otherwise.
TIMEOUT = 240
# The longest name of a run in bytes; file systems take 255, and names of files beside the folder add endings to it.
LONGEST_NAME = 200


# The weights of a network that are no average.
WEIGHTS = ("live", "anchor")
# What an average may be taken of: those, or each outer iterate once.
AVERAGED = (*WEIGHTS, "outer_iterate")
# The keys of an average that say how it is taken, of which each excludes the others.
ONE_OF_AVERAGE = ("decay", "half_life_kimg", "uniform")


class FolderName(Words):
    """The name of a folder inside another folder: one that every system can make, shows, and shows in full."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = (
            f"the name of a folder (at most {LONGEST_NAME} bytes, printable, no / \\ or $, no dot, ~ or space first)"
        )

    def convert(self, value: Any) -> str:
        value = super().convert(value)
        if not value or not value.isprintable() or len(value.encode()) > LONGEST_NAME:
            raise ValueError
        if value[0] in ".~" or value != value.strip() or any(c in value for c in "/\\$"):
            raise ValueError
        return value


class Run(Schema):
    """The name, seed and budget of a run, and the way in which it computes."""

    name: Annotated[str, FolderName()]
    """The run's name: its folder is ``folder/name``. No path separators, no control characters, no dot at its
    beginning."""
    seed: NonNegativeInt = 0
    """The seed of all random numbers, which do not depend on the number of processes. Default 0."""
    steps: PositiveInt | None = None
    """The number of training steps, which are steps of the innermost outer loop. At least one of steps, gradients and
    kimg must be given; the run stops as soon as one of them is reached. Default null: no limit."""
    gradients: PositiveInt | None = None
    """The number of gradient evaluations of the player that is evaluated most often. Default null: no limit."""
    kimg: PositiveFloat | None = None
    """The number of real samples that the run sees in all processes together, in thousands. Default null: no limit."""
    folder: OutputFolder = "checkpoints"
    """The folder that holds the runs, relative to the current directory. ~ and variables such as $HOME are expanded, in
    this and in every other path of a config. Default checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device on which the run computes; auto (the default) takes a GPU if there is one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """The number format in which the networks compute; parameters, losses and penalties are always fp32. In fp16 each
    loss is multiplied by a scale (loss_scale in the log) before it is differentiated, and the scale is halved whenever
    the gradient overflows. A gradient penalty through batch norm may overflow at every scale; use bf16 for it.
    Default fp32."""
    tf32: Bool = False
    """Whether a GPU computes products and convolutions of fp32 numbers in TF32, which keeps 10 bits of the fraction
    instead of 23. The key changes nothing on a CPU. Default false: full single precision, also in convolutions, for
    which torch by itself takes TF32."""
    deterministic: Bool = True
    """Whether a GPU computes with algorithms that give the same bits each time, so that a run that is stopped and
    resumed ends like one that was not. If false, cuDNN tries its algorithms out and takes the fastest, and sums may be
    added in any order. The key changes nothing on a CPU, which always gives the same bits. Default true."""
    compile: Bool = False
    """Whether torch.compile compiles the networks. This needs a C++ compiler on the machine, and about a minute before
    the first step. On a GPU, in a single process, they run as CUDA graphs. Penalties, samples, evaluations and
    diagnoses run uncompiled. Default false."""
    channels_last: Bool = False
    """Whether images and the weights of convolutions lie in memory with their channels last. Convolutions are fastest
    in this layout, above all in half precision on a GPU. Default false."""
    processes: Annotated[int, Number(whole=True, least=1, most=65536)] | None = None
    """The number of processes that must run; null (the default) takes as many as were launched."""
    threads: Annotated[int, Number(whole=True, least=1, most=1024)] | None = None
    """The number of CPU threads of each process, at most 1024; null (the default) leaves the choice to torch. Small
    networks are fastest with one thread."""
    timeout: Annotated[int, Number(whole=True, least=1, most=86400)] = TIMEOUT
    """The number of seconds for which a process waits for others, or for a worker that reads data, before the run stops
    with an error. Default 240."""
    sharding: Literal["none", "full", "hybrid"] = "none"
    """Whether each process holds all parameters, gradients, optimizer states and averages (none, the default), or a
    share of them: full divides them among all processes, hybrid among the processes of each host. It saves memory and
    costs time; one process holds everything. See docs/scale.md."""
    batch_norm: Literal["sync", "local"] = "sync"
    """Whether batch norm takes its mean and variance over the batch of all processes together (sync, the default) or in
    each process over its own share (local). If shares are cut into micro-batches, batch norm takes one at a time."""
    on_error: Literal["stop", "warn"] = "stop"
    """What happens if an evaluation, a picture or the log fails: the run writes a checkpoint and stops (stop, the
    default), or says so and goes on (warn)."""
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    """What happens if the training leaves the finite numbers: the run stops (stop, the default), or it goes back to its
    newest checkpoint and on with other samples (rollback)."""
    rollbacks: PositiveInt = 3
    """The number of times that a run may go back, with on_nonfinite: rollback. Default 3."""

    @model_validator(mode="after")
    def _usable(self) -> Run:
        if self.steps is None and self.gradients is None and self.kimg is None:
            raise problem("says nowhere when to stop; expected at least one of steps, gradients, kimg")
        if self.compile and self.sharding != "none":
            raise problem_at(("compile",), "networks that sharding divides run uncompiled; set it to false")
        return self

    def used(self, steps: int, gradients: int, kimg: float) -> float:
        """The share of the budget that these amounts use up: 1 or more when the run is over."""
        amounts = ((steps, self.steps), (gradients, self.gradients), (kimg, self.kimg))
        return max(amount / budget for amount, budget in amounts if budget is not None)


class Data(Schema):
    """The data set and its batches. The keys of the data set stand beside the keys of this section."""

    part: Annotated[Any, PartOf("data")]
    batch_size: PositiveInt = 64
    """The number of samples in a batch, in all processes together. Default 64."""
    accumulation: PositiveInt = 1
    """The number of micro-batches into which each process cuts its share of a batch. They pass through the networks one
    after the other, which takes less memory for the same batch. Batch norm and m-sharpness see each micro-batch alone,
    as if it belonged to a process of its own. A diagnosis takes batches whole. Default 1."""
    storage: Literal["auto", "device", "memory", "disk"] = "auto"
    """The place where the samples are kept: on the device of the run (device), in memory (memory), or on disk, from
    which they are read again in each epoch (disk). auto (the default) takes the first of these that has ample room for
    them. The batches are the same in any place."""
    workers: NonNegativeInt | None = None
    """The number of processes that read samples ahead from disk, for each process of the run. null (the default) takes
    one for each core, at most 8; with 0, samples are read when a batch needs them."""

    @classmethod
    def beside(cls) -> set[str]:
        """The keys of the section that do not belong to the data set."""
        return cls.model_fields.keys() - {"part"}

    @classmethod
    def kept(cls) -> set[str]:
        """The keys that stay where another data set is chosen."""
        return cls.beside() | {parameter.name for parameter in kind("data").beside(Signature(()))}

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


class Evaluate(Schema):
    """Metrics of a generator's samples, measured while the generator trains; null measures nothing."""

    every: Interval = 1000
    """The interval from one evaluation to the next: a number of training steps, {kimg: N} (thousands of real samples)
    or {gradients: N}. Default 1000."""
    metrics: Annotated[tuple[Annotated[Any, NameOrPart("metric")], ...], Field(min_length=1)] = ("fid",)
    """The metrics that are measured: fid (Fréchet distance), isc (Inception score), kid (kernel distance), prc
    (precision and recall), prdc (density and coverage), authenticity, intra_class_fid (the Fréchet distance within each
    class), ppl (perceptual path length), or your own by their targets. A metric may have features of its own:
    {name: prc, features: vgg16}. Default [fid]."""
    samples: PositiveInt = 10000
    """The number of generated samples that are measured. Default 10000; published FIDs take 50000."""
    weights: Text | Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """The weights of the generator that is measured: an average by its name (ema), the weights that are trained (live),
    or those of the last outer iterate (anchor). Of a list each is measured, and logged with its name in brackets; the
    first decides which checkpoint is the best. null (the default) takes the first average that the run keeps, and live
    if there is none."""
    features: Features | None = None
    """The network whose features all metrics use that name none of their own: inception, vgg16, one of DINOv2 or CLIP,
    or the folder of a classification run, whose classifier then gives the features. A bare name is also searched in
    checkpoints in the current directory; photos-classifier, for photographs, and digits-classifier are shipped. null
    (the default): each metric uses the network by which it is defined, which is vgg16 for prc and prdc, and inception
    for the others."""
    data: Annotated[Any, PartOver("data")] | None = None
    """The data set with which the samples are compared; keys that are left out are those of the training data. null
    (the default) compares with the training data."""
    subset_size: Annotated[int, Number(whole=True, least=2)] = 1000
    """The number of samples in each of the subsets over which kid is averaged. Default 1000."""
    infinity: Bool = False
    """Whether fid is also extrapolated to infinitely many samples. Default false."""
    batch_size: PositiveInt = 64
    """The number of images that pass through the network of the features at once. Default 64."""
    best: Annotated[Text, Field(json_schema_extra={"examples": list(BEST)})] | None = None
    """The metric by which the best checkpoint is chosen, which is kept in the folder best: fid, isc, kid, precision,
    recall, density, coverage, authenticity, memorised, intra_class_fid, ppl, or a value of a metric of your own. null
    (the default) takes the first entry of metrics."""
    stop_if_worse_than: Annotated[dict[str, float], Bounds()] | None = None
    """Bounds of values, by the words of best, as in {fid: 100}. An evaluation that finds a value on the worse side of
    its bound, or NaN, ends the run, which counts as diverged. Of several weights the first decide. null (the default)
    ends no run."""

    @model_validator(mode="after")
    def _measured(self) -> Evaluate:
        words = list(dict.fromkeys(word for words in self._words() for word in words))
        named = [("best",)] if self.best is not None else []
        for key in [*named, *(("stop_if_worse_than", word) for word in self.stop_if_worse_than or ())]:
            word = self.best if key == ("best",) else key[-1]
            if word in words:
                continue
            if word in BEST:
                raise problem_at(key, f"{word} is not measured; add {BEST[word]} to evaluate.metrics")
            known = list(dict.fromkeys([*BEST, *words]))
            raise problem_at(key, f"expected {one_of(known)}, got {shown(word)}{nearest(word, known)}", word)
        return self

    @property
    def several_weights(self) -> tuple[str | None, ...]:
        """The weights that are measured, each by its name; None stands for the default."""
        return self.weights if isinstance(self.weights, tuple) else (self.weights,)

    @property
    def compared_by(self) -> str:
        """The word for the value by which checkpoints are compared."""
        return self.best if self.best is not None else self._words()[0][0]

    def _words(self) -> list[list[str]]:
        """For each metric the words in ``best`` for its values.

        Raises:
            ValidationError: a metric of the user's own says something wrong about itself, features are named for a
                metric that looks at none, or two metrics would report the same value.
        """
        found: list[list[str]] = []
        reported: dict[tuple[str, Any], int] = {}
        for i, metric in enumerate(self.metrics):
            description, features = self._described(i)
            found.append([value.best for value in description.values if value.best is not None])
            for value in description.values if metric not in self.metrics[:i] else ():
                first = reported.setdefault((value.name, features), i)
                if first != i:
                    other = "other features" if description.key in METRICS else "another name"
                    message = f"reports {value.name}, as entry {first} does; give it {other}, or leave it out"
                    raise problem_at(("metrics", i), message)
        return found

    def _described(self, i: int) -> tuple[MetricDescription, Any]:
        """The description of the metric of this number, and its features; None for features that it does not use."""
        metric = self.metrics[i]
        key = part_name(metric) if isinstance(metric, Part) else metric
        own = own_features(metric)
        if key in METRICS:
            return METRICS[key], own or self.features or PublishedNetwork(name=METRICS[key].features)
        better, compares, needs = (
            class_attribute("metric", metric.part_class, attribute) for attribute in ("better", "compares", "needs")
        )
        try:
            description = own_description(metric.part_class.rpartition(":")[2], better, compares, needs)
        except ValueError as error:
            raise problem_at(("metrics", i, "target"), str(error)) from None
        if "features" in needs:
            return description, own or self.features or PublishedNetwork(name=description.features)
        if own is not None:
            message = f"{description.key} looks at the images alone, as its attribute needs says; leave the key out"
            raise problem_at(("metrics", i, "features"), message)
        return description, None


_CLASS_BOUNDS = Bounds("accuracy", "loss", "f1", "matthews_correlation")
_NUMBER_BOUNDS = Bounds("pearson_correlation", "spearman_correlation", "loss")


class Accuracy(Schema):
    """The accuracy of a classifier on data from which it does not learn; null measures none."""

    data: Annotated[Any, PartOver("data")]
    """The data set on which the accuracy is measured. Keys that are left out are those of the training data."""
    every: Interval = 500
    """The interval from one evaluation to the next: a number of training steps, {kimg: N} (thousands of real samples)
    or {gradients: N}. Default 500."""
    scores: tuple[Literal["f1", "matthews_correlation"], ...] | None = None
    """Further scores: the F1 score (of class 1 where there are two classes, else the mean over the classes) and
    Matthews' correlation. The best checkpoint is that with the best value of the first. null (the default) takes those
    by which the data set is usually judged, which are F1 for mrpc and qqp of GLUE, Matthews' correlation for cola, and
    none otherwise."""
    stop_if_worse_than: Annotated[dict[str, float], _CLASS_BOUNDS] | None = None
    """Bounds of the accuracy, of the loss and of the further scores, as in {accuracy: 0.2}. An evaluation that finds a
    lower accuracy or score, or a higher loss, or NaN, ends the run, which counts as diverged. null (the default) ends
    no run."""


class Correlation(Schema):
    """The correlation of a regression's predictions with the labels of data from which it does not learn; null measures
    none."""

    data: Annotated[Any, PartOver("data")]
    """The data set on which the correlation is measured. Keys that are left out are those of the training data."""
    every: Interval = 500
    """The interval from one evaluation to the next: a number of training steps, {kimg: N} (thousands of real samples)
    or {gradients: N}. Default 500."""
    stop_if_worse_than: Annotated[dict[str, float], _NUMBER_BOUNDS] | None = None
    """Bounds of the correlations and of the loss, the mean squared error. An evaluation that finds a lower correlation
    or a higher loss, or NaN, ends the run, which counts as diverged. null (the default) ends no run."""


class Diagnose(Schema):
    """Measurements of the game around its current point: spectrum, rotation, and the sharpness of each player."""

    every: Interval = 1000
    """The interval from one diagnosis to the next: a number of training steps, {kimg: N} (thousands of real samples) or
    {gradients: N}. Default 1000."""
    batches: PositiveInt = 3
    """The number of batches on which the game is measured; their values differ by the spread that is reported. Default
    3."""
    eigenvalues: PositiveInt = 4
    """The number of eigenvalues of each kind: of the Jacobian those largest in modulus and those largest in imaginary
    part, of each player's Hessian the largest and the smallest. Default 4."""
    radius: PositiveFloat = 0.05
    """The radius of the ball in which each player's sharpness is measured. Default 0.05."""


class AverageName(Words):
    """The name of an average of weights, which names files and values."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = "a name of at most 50 letters, digits, _ and -, other than live and anchor"

    def convert(self, value: Any) -> str:
        name = super().convert(value)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,49}", name) or name in WEIGHTS:
            raise ValueError
        return name


class EMA(Schema):
    """An average of the weights of the network that is evaluated: by a decay, by a half-life, or uniform."""

    decay: Annotated[float, Scheduled(Number(least=0, below=1))] | None = None
    """The share of the average that is kept at each training step, at least 0 and below 1; less in the first steps, so
    that the initial weights never count. Default 0.999 where neither half_life_kimg nor uniform is given."""
    half_life_kimg: Annotated[float, Scheduled(Number(least=0))] | None = None
    """The number of real samples, in thousands, after which half of the average is new, in place of decay. A step on B
    samples keeps 0.5^(B / half-life) of the average, which begins with the initial weights; 0 takes the live weights.
    Default null."""
    ramp: Annotated[float, Scheduled(Number(above=0))] | None = None
    """The half-life is at most ramp times the samples that the run saw before the step. 0.05 is common. Default null:
    no bound."""
    uniform: Bool = False
    """Whether the average is the plain mean of the weights after each training step, in place of decay. Default
    false."""
    start: Interval | None = None
    """The time from which steps count in a uniform average, which equals the weights until then: a number of training
    steps, {kimg: N} or {gradients: N}. Default null: the beginning."""
    of: Literal["live", "anchor", "outer_iterate"] = "live"
    """The weights that are averaged: those that are trained (live), or the last outer iterate (anchor) of an outer loop
    that has an anchor, such as the slow weights of lookahead, each after every training step; or each outer iterate
    once (outer_iterate), so that the average moves only where an outer step is complete. Default live."""
    name: Annotated[str, AverageName()] = "ema"
    """The name of the average, by which evaluations, samples and commands choose it. Default ema."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or kinds_of_average(value):
            return value
        return {**value, "decay": 0.999}

    @model_validator(mode="after")
    def _of_one_kind(self) -> EMA:
        given = kinds_of_average(dict(self))
        if len(given) > 1:
            raise problem_at((given[1],), f"{given[0]} is given, too; leave one of them out")
        for key, fitting in (("ramp", "half_life_kimg"), ("start", "uniform")):
            if getattr(self, key) is not None and given != [fitting]:
                raise problem_at((key,), f"goes with {fitting}, and this average has {given[0]}; leave it out")
        return self


def kinds_of_average(section: Mapping[str, Any]) -> list[str]:
    """The keys of a section ``ema`` that say how the average is taken; ``uniform: false`` says nothing."""
    return [
        key
        for key in ONE_OF_AVERAGE
        if section.get(key) is not None and not (key == "uniform" and section[key] is False)
    ]


class TrackerOf(PartOf):
    """Marks an entry of ``log.to``: the word tensorboard, or a tracker."""

    def __init__(self) -> None:
        super().__init__("tracker")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validated, serialization=core_schema.plain_serializer_function_ser_schema(self._plain)
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"const": TENSORBOARD}, {"$part": self.kind}]}

    def _validated(self, value: Any) -> Any:
        known = (TENSORBOARD, *kind(self.kind).parts)
        if isinstance(value, str) and value not in known:
            own = "or one of your own as {target: package.module:Class}"
            raise problem(f"expected {one_of(known)}, {own}, got {shown(value)}{nearest(value, known)}")
        return value if value == TENSORBOARD else validate(self.kind, value)

    @staticmethod
    def _plain(value: Any) -> Any:
        # A tracker that was built in Python has no config.
        return plain(value) if isinstance(value, str | Part) else type(value).__name__


class Log(Schema):
    """The scalars of a run: how often a row is written to metrics.jsonl, and where else the rows go."""

    every: Interval = 20
    """The interval from one row of scalars to the next: a number of training steps, {kimg: N} (thousands of real
    samples) or {gradients: N}. Default 20."""
    to: tuple[Annotated[Any, TrackerOf()], ...] = (TENSORBOARD,)
    """Where the rows go beside metrics.jsonl: a list of tensorboard, wandb and mlflow, each by its name or with keys of
    its own, or a tracker of your own by its target. Others than tensorboard get a row once a checkpoint holds it. An
    empty list writes metrics.jsonl alone. Default [tensorboard]."""
    curves: Bool = True
    """Whether curves.png is drawn into the run's folder when the run ends: losses, scores and metrics over the steps.
    Default true."""
    initial_distance: Bool = False
    """Whether each row has initial_distance/PLAYER: the Euclidean distance of the player's trained parameters, all
    together, from those with which the run began, which are those of the seed or of the player's init. Memory and
    checkpoints then hold these, too. A run that began without it cannot add it. Default false."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        one = isinstance(value, Mapping) and isinstance(value.get("to"), str | Mapping)
        return {**value, "to": [value["to"]]} if one else value

    @model_validator(mode="after")
    def _named_once(self) -> Log:
        names = [part_name(entry) if isinstance(entry, Part) else entry for entry in self.to]
        for i, name in enumerate(names):
            if isinstance(name, str) and name in names[:i]:
                raise problem_at(("to", i), f"{name} is named twice; leave one out", name)
        return self


class Samples(Schema):
    """Grids of generated samples: how often they are drawn, and of what; null draws none."""

    by_default: ClassVar[bool] = True

    every: Interval = 500
    """The interval from one grid to the next: a number of training steps, {kimg: N} (thousands of real samples) or
    {gradients: N}. Default 500."""
    count: Annotated[int, Number(whole=True, least=1, most=65536)] = 64
    """The number of samples in a grid. Default 64."""
    weights: Text | None = None
    """The weights of the generator that is sampled: an average by its name, live or anchor. null (the default) takes
    the first average that the run keeps, and live if there is none."""


class Advice(Schema):
    """Signs of collapse, memorisation and overfitting, each said in one line when it appears; null looks for none."""

    by_default: ClassVar[bool] = True

    every: Interval = 500
    """The interval from one look to the next: a number of training steps, {kimg: N} (thousands of real samples) or
    {gradients: N}. Default 500."""
    data: Annotated[Any, PartOver("data")] | None = None
    """Real samples that are held out from training, such as {split: test}, by which overfitting is told apart from a
    strong discriminator; keys that are left out are those of the training data. Default null: none."""


class Scalars(Schema):
    """Scalars of the game's own: how often they are measured; null measures none."""

    by_default: ClassVar[bool] = True

    every: Interval = 100
    """The interval from one measurement to the next: a number of training steps, {kimg: N} (thousands of real samples)
    or {gradients: N}. Default 100."""


class Pictures(Schema):
    """Pictures of the game's own: how often they are drawn; null draws none."""

    by_default: ClassVar[bool] = True

    every: Interval = 500
    """The interval from one picture to the next: a number of training steps, {kimg: N} (thousands of real samples) or
    {gradients: N}. Default 500."""


# The callbacks that a game may name in ``Game.callbacks``, each with the section that configures it.
CALLBACKS: dict[str, type[Schema]] = {
    "samples": Samples,
    "metrics": Evaluate,
    "advice": Advice,
    "accuracy": Accuracy,
    "correlation": Correlation,
    "scalars": Scalars,
    "pictures": Pictures,
}


class Checkpoint(Schema):
    """The checkpoints from which a run can be resumed."""

    every: Interval = 500
    """The interval from one checkpoint to the next: a number of training steps, {kimg: N} (thousands of real samples)
    or {gradients: N}. Default 500."""
    keep: PositiveInt = 2
    """The number of newest checkpoints that are kept. Default 2."""
