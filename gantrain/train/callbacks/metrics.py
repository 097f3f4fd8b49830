"""The callback that measures a generator's metrics while the generator trains."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.config.features import PublishedNetwork, own_features
from gantrain.config.metrics import BEST, METRICS, value_for
from gantrain.config.parts import build
from gantrain.config.sections import Evaluate
from gantrain.data.dataset import DataSet
from gantrain.data.pixels import opaque_shape
from gantrain.errors import Diverged, UserError
from gantrain.games.base import GenerativeGame
from gantrain.metrics import Generated, Images, Metric, Options, Report, evaluate
from gantrain.metrics.evaluation import require_measurable
from gantrain.metrics.extractors.factory import Extractors
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result, beyond
from gantrain.utils.seeding import derive

# The statistics of the real images, shared by all runs in a folder.
CACHE = ".statistics"


class MetricEvaluation(Callback):
    """Measures the metrics of a generator's samples.

    Where the section names several weights, each has a callback of its own, and the names of its values end with the
    name of the weights in brackets. The first chooses the best checkpoint.

    Args:
        game: the game whose samples are measured.
        data: the training data set. The samples of a conditional game get its labels.
        section: the section ``evaluate`` of the config.
        seed: the seed of the run.
        folder: the folder that holds all runs. It also keeps the statistics of the real images, which the runs share.
        device: the device of the game.
        trust: whether the run that the features come from is opened though its config names code outside gantrain and
            it was not trained here.

    Raises:
        UserError: the features cannot be loaded, or do not fit the data; or a metric needs more images.
    """

    all_processes = True
    runs_game = False

    def __init__(
        self,
        game: GenerativeGame,
        data: DataSet,
        section: Evaluate,
        seed: int,
        folder: str | Path = "checkpoints",
        device: torch.device | str = "cpu",
        trust: bool = False,
    ):
        self.every = section.every
        self.weights = section.several_weights[0]
        self.label = f"[{self.weights}]" if len(section.several_weights) > 1 else ""
        self.best = True
        self.section = section
        self.game = game
        self.labels = data.labels
        self.seed = derive(seed, "evaluation")
        self.cache = Path(folder) / CACHE
        self.metrics = metrics_of(section.metrics, section.features, device, trust)
        against = data if section.data is None else build("data", section.data)
        for name, spec in (("data", data.spec), ("evaluate.data", against.spec)):
            for extractor in filter(None, (metric.extractor for metric in self.metrics)):
                extractor.require_shape(opaque_shape(tuple(spec.shape)), name)
        self.real = Images(against)
        self.options = Options(subset_size=section.subset_size, infinity=section.infinity)
        try:
            generated = Generated.of(game, self.seed, labels=self.labels)
            require_measurable(generated, self.real, None, self.metrics, samples=section.samples, options=self.options)
        except UserError as error:
            raise UserError(f"evaluate: {error}") from None
        for i, metric in enumerate(self.metrics):
            if not metric.key:
                self._try(metric, f"evaluate.metrics.{i}")

    def _try(self, metric: Metric, key: str) -> None:
        """Measure a metric of the user's own on a few samples, so that a mistake shows before the run begins."""
        few = metric.least
        try:
            evaluate(
                Generated.of(self.game, self.seed, labels=self.labels),
                self.real.take(few),
                None,
                [metric],
                samples=few,
                batch_size=self.section.batch_size,
                options=self.options,
            )
        except UserError as error:
            words = str(error).removeprefix("metrics: ")
            raise UserError(f"{key}: {words}; this was a trial on {few} images (the attribute least)") from error

    def also(self, weights: str | None) -> MetricEvaluation:
        """A callback that measures the same of other weights, and leaves it to this one to choose the checkpoint."""
        twin = copy.copy(self)
        twin.weights, twin.label, twin.best = weights, f"[{weights}]", False
        return twin

    @property
    def columns(self) -> list[str]:  # type: ignore[override]
        """The names of the values that the metrics report."""
        return [
            f"{value.full_name(metric.label(metric.extractor) if metric.extractor else None)}{self.label}"
            for metric in self.metrics
            for value in metric.description.values
            if value.best is not None or self.section.infinity
        ]

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Measure the metrics, log them, and return them as a line, with the cost of the checkpoint."""
        try:
            report = self.measure(network)
        except Diverged as error:
            raise Diverged(f"step {step}: {error}") from error
        better = {
            f"{name}{self.label}": "lower" if value.lower_is_better else "higher"
            for name, value in report.values.items()
        }
        monitor.scalars(step, {f"{name}{self.label}": value for name, value in report.scalars.items()}, better)
        name = name_of_best(report, self.section.compared_by)
        value = report.values[name]
        words = "  ".join(f"{key}{self.label} {v.value:.4g}" for key, v in report.values.items())
        cost = value.value if value.lower_is_better else -value.value
        bounds = self.section.stop_if_worse_than if self.best else None
        bounded = {word: report.values[name_of_best(report, word)] for word in bounds or ()}
        hopeless = beyond(
            {word: value.value for word, value in bounded.items()},
            bounds,
            {word: value.lower_is_better for word, value in bounded.items()},
        )
        return Result(f"step {step}: {words}", f"{name}{self.label}", cost if self.best else math.nan, hopeless)

    def measure(self, network: nn.Module) -> Report:
        """The metrics of the samples that ``network`` makes. All processes get the same values."""
        return evaluate(
            Generated.of(self.game, self.seed, network=network, labels=self.labels),
            self.real,
            None,
            self.metrics,
            samples=self.section.samples,
            batch_size=self.section.batch_size,
            cache=self.cache,
            options=self.options,
        )


def metrics_of(
    entries: Sequence[Any],
    features: str | PublishedNetwork | None,
    device: torch.device | str,
    trust: bool = False,
    override: bool = False,
) -> list[Metric]:
    """The metrics of a config, each with the network of its features; metrics with the same features share one.

    Args:
        entries: the metrics as ``evaluate.metrics`` has them.
        features: the features of the metrics that name none of their own, as ``evaluate.features`` has them; None for
            those by which each metric is defined.
        device: where the networks are.
        trust: as in :func:`gantrain.metrics.make_extractor`.
        override: whether ``features`` takes the place of metrics' own features.

    Raises:
        UserError: the features cannot be loaded, or a metric cannot be made.
    """
    extractors, made = Extractors(device, trust), list[Metric]()
    for i, entry in enumerate(entries):
        metric: Metric = build("metric", entry, key=f"evaluate.metrics.{i}")
        own = None if override else own_features(entry)
        if metric.needs_features:
            key = "" if override else "evaluate." if own is None else f"evaluate.metrics.{i}."
            try:
                metric.extractor = extractors.make(own or features or metric.description.features)
            except UserError as error:
                if not str(error).startswith("features: "):
                    raise
                raise type(error)(f"{key}{error}") from error
        made.append(metric)
    return made


def name_of_best(report: Report, word: str) -> str:
    """The full name, in a report, of the value by which checkpoints are compared.

    Args:
        report: the report.
        word: a word that ``evaluate.best`` knows, or the key of a metric.

    Raises:
        UserError: the report has no such value.
    """
    names = value_for(word).names if word in METRICS or word in BEST else (word,)
    for name in report.values:
        if name.partition("[")[0] in names:
            return name
    raise UserError(f"evaluate.best: {word} was not measured; measured were {', '.join(report.values)}")
