"""The eval command: metrics of a run's generator or of images in files, or the scores of a run's predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState

from gantrain.compute import memory
from gantrain.compute.device import exact_arithmetic
from gantrain.config import yaml_files
from gantrain.config.base import one_of
from gantrain.config.features import PUBLISHED, PublishedNetwork
from gantrain.config.metrics import DEFAULT_METRICS
from gantrain.config.parts import Part, build, part_name
from gantrain.config.paths import not_found
from gantrain.config.registry import kind
from gantrain.config.sections import TIMEOUT, Accuracy, Correlation, Evaluate
from gantrain.config.shipped import outputs
from gantrain.data.dataset import DataSet
from gantrain.distributed.agreement import require_agreement
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import NotFound, UserError
from gantrain.games.base import GenerativeGame, PredictingGame
from gantrain.metrics import Generated, Images, Metric, Options, Report, Source, Value, evaluate, open_images
from gantrain.metrics.evaluation import require_known
from gantrain.runs.saved import MOVED, SavedRun, load
from gantrain.train.callbacks.accuracy import AccuracyEvaluation
from gantrain.train.callbacks.correlation import CorrelationEvaluation
from gantrain.train.callbacks.metrics import CACHE, metrics_of
from gantrain.train.callbacks.predictions import PredictionEvaluation, require_known_labels
from gantrain.utils.json_text import json_text

SAMPLES, SUBSET_SIZE = 10000, 1000
# Options that images in files have no use for, and those that predictions have no use for.
OF_RUNS = ("step", "weights", "data", "seed")
OF_SAMPLES = ("metrics", "samples", "features", "feature_weights", "digest", "seed", "draws", "infinity", "subset_size")


@dataclass(frozen=True)
class Request:
    """The options of the command; for None the run's own setting is taken, or else the default.

    Attributes:
        metrics: the keys of the metrics, as in :func:`gantrain.metrics.evaluate`.
        samples: the number of samples; by default 10000, and all images of files.
        against: the images that are compared with: a folder, an archive, or a data set as in a config.
        features: the features of all metrics: a published network, or the folder of a run of a classification.
        feature_weights: the path of the weights of a published network, which is InceptionV3 if none is named.
        digest: the SHA-256 of weights that are not the published ones.
        step: the step of the checkpoint; the newest by default.
        weights: as in :func:`~gantrain.runs.saved.load`.
        seed: the seed of the samples.
        draws: how often the generator is sampled anew.
        infinity: whether the Fréchet distance is extrapolated in the number of samples.
        subset_size: the number of images in a subset of the kernel distance; 1000 by default.
        batch_size: images that the extractor, or the classifier, sees at once.
        data: where the run's training data lie now, if not where its config says.
        trust: whether runs are opened though their configs name code outside gantrain and they were not trained here.
        timeout: the seconds that several processes wait for each other; 240 by default.
    """

    metrics: Sequence[str] | None = None
    samples: int | None = None
    against: str | None = None
    features: str | None = None
    feature_weights: str | None = None
    digest: str | None = None
    step: int | None = None
    weights: str | None = None
    seed: int = 0
    draws: int = 1
    infinity: bool = False
    subset_size: int | None = None
    batch_size: int = 64
    data: str | None = None
    trust: bool = False
    timeout: int | None = None


def evaluate_run(run: str, request: Request) -> Report:
    """Evaluate a run or one of its checkpoints: a generator's metrics, or the scores of predictions.

    Raises:
        UserError: there is no such run or checkpoint, or the request does not fit it.
    """
    with _measuring(request) as state:
        device = state.device
        processes = Processes.launched()
        with processes.raise_on_all():
            saved = load(
                run, weights=request.weights, step=request.step, device=device, trust=request.trust, data=request.data
            )
        if isinstance(saved.game, PredictingGame):
            return _predictions(saved, saved.game, request, device, processes)
        with processes.raise_on_all():
            if not isinstance(saved.game, GenerativeGame):
                raise UserError(
                    f"{saved.folder}: the game {part_name(saved.settings.game)} neither makes samples nor predicts "
                    "labels; nothing else is evaluated"
                )
            section: Evaluate | None = saved.settings.game_callbacks.get("metrics")
            metrics = _metrics(request, section, device)
            samples = request.samples or (SAMPLES if section is None else section.samples)
            real = _real(request.against, metrics)
            if real is None and _compares(metrics):
                real = Images(saved.data if section is None or section.data is None else _data_of(section))
            # A conditional game is told the labels of the data, be these compared with or not.
            labels = saved.data.labels if saved.game.conditional else None
        subset_size = request.subset_size or (SUBSET_SIZE if section is None else section.subset_size)
        fake = Generated.of(saved.game, request.seed, network=saved.network, labels=labels)
        report = _evaluate(fake, real, metrics, samples, subset_size, outputs(saved.folder).parent / CACHE, request)
        return Report(report.values, _origin(saved) | dict(report.about))


def evaluate_images(images: str, request: Request) -> Report:
    """Evaluate the images in a folder or archive.

    Raises:
        UserError: the images cannot be read, there is nothing to compare them with, or the request does not fit them.
    """
    _require_default(request, OF_RUNS, "is for runs, and --images are no run")
    with _measuring(request) as state:
        with Processes.launched().raise_on_all():
            metrics = _metrics(request, None, state.device)
            real = _real(request.against, metrics)
            if real is None and _compares(metrics):
                raise UserError("--against: name what the images are compared with; only isc does without")
            fake = open_images(images, _channels(metrics))
        subset_size = request.subset_size or SUBSET_SIZE
        return _evaluate(fake, real, metrics, request.samples, subset_size, None, request)


def table(report: Report) -> str:
    """The report as lines for a terminal: the values, then everything that belongs beside them when they are quoted."""
    lines = []
    width = max(map(len, report.values))
    for name, value in report.values.items():
        words = [f"{name:<{width}}  {value.value:>10.5g}"]
        if value.spread is not None:
            words.append(f"(spread {value.spread:.3g})")
        if value.error is not None and value.interval is not None:
            low, high = value.interval
            words.append(f"± {value.error:.2g}, 95 % from {low:.5g} to {high:.5g}")
        words.append("lower is better" if value.lower_is_better else "higher is better")
        lines.append("  ".join(words))
    lines.append("")
    for key, entry in report.about.items():
        if isinstance(entry, dict):
            entry = ", ".join(f"{k} {v}" for k, v in entry.items())
        if entry is not None:
            lines.append(f"{key.replace('_', ' '):<{width}}  {entry}")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The report as JSON."""
    return json_text(report.as_dict())


@contextmanager
def _measuring(request: Request) -> Iterator[PartialState]:
    """Join the processes for the block, which computes in full single precision and explains a lack of memory."""
    if request.metrics is not None:
        require_known(request.metrics)  # before weights are downloaded
    joined = process_group(not torch.cuda.is_available(), request.timeout or TIMEOUT)
    with joined as state, exact_arithmetic(state.device):
        half = max(1, request.batch_size // 2)
        smaller = f"--batch-size {half}, or " if half < request.batch_size else ""
        with memory.out_of_memory(
            lambda: "eval",
            lambda: (
                f"with {request.batch_size} images at once in fp32; try {smaller}fewer --samples, or --metrics "
                "of fid and isc, which do not keep all features"
            ),
        ):
            require_agreement(Processes.launched(), state.device)
            yield state


def _require_default(request: Request, options: Sequence[str], why: str) -> None:
    """Refuse options that would do nothing."""
    for name in options:
        if getattr(request, name) != getattr(Request, name):
            raise UserError(f"--{name.replace('_', '-')}: {why}; leave it out")


def _evaluate(
    fake: Source,
    real: Source | None,
    metrics: Sequence[Metric],
    samples: int | None,
    subset_size: int,
    cache: Path | None,
    request: Request,
) -> Report:
    return evaluate(
        fake,
        real,
        None,
        metrics,
        samples=samples,
        batch_size=request.batch_size,
        draws=request.draws,
        cache=cache,
        options=Options(subset_size=subset_size, infinity=request.infinity),
    )


def _origin(saved: SavedRun) -> dict[str, Any]:
    return {"checkpoint": str(saved.path), "step": saved.step, "weights": saved.weights}


def _metrics(request: Request, section: Evaluate | None, device: torch.device) -> list[Metric]:
    """The metrics that are asked for, each with the network of its features.

    The request's features are those of all metrics. Without any, metrics have the features that they have in the run.
    """
    of_run = () if section is None else section.metrics
    entries: list[Any] = list(request.metrics or of_run or DEFAULT_METRICS)
    if any(each is not None for each in (request.features, request.feature_weights, request.digest)):
        entries = list({_word(entry): entry for entry in entries}.values())
        return metrics_of(entries, _features(request), device, request.trust, override=True)
    if request.metrics is not None:
        entries = [e for key in entries for e in [m for m in of_run if _word(m) == key] or [key]]
    return metrics_of(entries, None if section is None else section.features, device, request.trust)


def _word(entry: Any) -> str:
    """The key of a metric, or the target of the user's own."""
    return part_name(entry) if isinstance(entry, Part) else str(entry)


def _features(request: Request) -> str | PublishedNetwork:
    """The features that the request names."""
    name = request.features or "inception"
    if name in PUBLISHED:
        return PublishedNetwork(name=name, weights=request.feature_weights, digest=request.digest)
    for option, given in (("--feature-weights", request.feature_weights), ("--digest", request.digest)):
        if given is not None:
            raise UserError(f"{option}: is for a published network, and a classifier has its own weights; leave it out")
    return name


def _channels(metrics: Sequence[Metric]) -> Literal[1, 3]:
    """The channels in which images are read: grey if all networks of features want them grey."""
    wanted = {metric.extractor.channels for metric in metrics if metric.extractor is not None}
    return 1 if wanted == {1} else 3


def _real(against: str | None, metrics: Sequence[Metric]) -> Source | None:
    """The images that ``--against`` names; None if it was not given."""
    if against is None:
        return None
    if Path(against).exists():
        return open_images(against, _channels(metrics))
    spec = yaml_files.parse(against, "--against")
    if isinstance(spec, str) and spec not in kind("data").parts:
        raise not_found(
            "--against", against, f"expected a folder, an archive or a data set: {one_of(kind('data').parts)}"
        )
    return Images(build("data", spec))


def _compares(metrics: Sequence[Metric]) -> bool:
    """Whether one of the metrics compares with real images."""
    return any(metric.description.compares for metric in metrics)


def _data_of(section: Evaluate | Accuracy | Correlation) -> DataSet:
    """The data set of a run's section ``evaluate``."""
    try:
        data: DataSet = build("data", section.data, key="evaluate.data")
        return data
    except NotFound as error:
        raise NotFound(f"{error}; {MOVED}, or with --against what to compare with") from error


def _predictions(
    saved: SavedRun, game: PredictingGame, request: Request, device: torch.device, processes: Processes
) -> Report:
    with processes.raise_on_all():
        evaluation = _evaluation_of_predictions(saved, game, request, device)
    found = evaluation.measure(saved.network, processes)
    values = {name: Value(value, lower_is_better=name.startswith("loss")) for name, value in found.items()}
    return Report(values, _origin(saved) | {"samples": len(evaluation.data.samples)})


def _evaluation_of_predictions(
    saved: SavedRun, game: PredictingGame, request: Request, device: torch.device
) -> PredictionEvaluation:
    _require_default(request, OF_SAMPLES, f"is for generators, and {saved.folder} predicts labels")
    sections = saved.settings.game_callbacks
    section: Accuracy | Correlation | None = sections.get("accuracy", sections.get("correlation"))
    if request.against is not None:
        spec = yaml_files.parse(request.against, "--against")
        data = build("data", spec)
    elif section is not None:
        data = _data_of(section)
    else:
        raise UserError(f"{saved.folder}: the run names no data to be evaluated on; name some with --against")
    require_known_labels(data, saved.form.spec, "evaluate.data" if request.against is None else "--against")
    size, attacks = request.batch_size, game.attacks()
    if data.spec.numeric:
        return CorrelationEvaluation(data, 1, device, size, attacks)
    scores = section.scores if isinstance(section, Accuracy) else None
    return AccuracyEvaluation(data, 1, device, size, attacks, scores=scores)
