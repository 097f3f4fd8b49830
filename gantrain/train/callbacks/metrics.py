"""A generator's metrics while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.config.parts import build
from gantrain.config.sections import Evaluate
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame
from gantrain.metrics import Extractor, Generated, Images, Options, Report, evaluate, make_extractor
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result
from gantrain.utils.seeding import derive

# The statistics of the real images, shared by all runs in a folder.
CACHE = ".statistics"


class MetricEvaluation(Callback):
    """Metrics of a generator's samples against data.

    Args:
        game: whose samples are measured.
        data: the training data, whose labels the samples of a conditional game have.
        section: what is measured, how often, and against which data.
        seed: of the run.
        folder: that holds runs; statistics of the real images are kept there for all of them.
        device: where the game is.

    Raises:
        UserError: the features cannot be had, or do not fit the data.
    """

    all_processes = True

    def __init__(
        self,
        game: GenerativeGame,
        data: Any,
        section: Evaluate,
        seed: int,
        folder: str | Path = "checkpoints",
        device: torch.device | str = "cpu",
    ):
        self.every = section.every
        self.weights = section.weights
        self.section = section
        self.game = game
        self.labels = data.labels
        self.seed = derive(seed, "evaluation")
        self.cache = Path(folder) / CACHE
        self.extractor = extractor_of(section.features, device)
        against = data if section.data is None else build("data", section.data)
        for name, spec in (("data", data.spec), ("evaluate.data", against.spec)):
            self.extractor.check(tuple(spec.shape), name)
        self.real = Images(against)

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Measure, log, and say in a line what was found."""
        report = self.measure(network)
        monitor.scalars(step, report.scalars)
        name = best_of(report, self.section.best or self.section.metrics[0])
        value = report.values[name]
        words = "  ".join(f"{key} {v.value:.4g}" for key, v in report.values.items())
        return Result(f"step {step}: {words}", name, value.value if value.lower_is_better else -value.value)

    def measure(self, network: nn.Module) -> Report:
        """The metrics of the samples of ``network``, the same in all processes."""
        return evaluate(
            Generated.of(self.game, self.seed, network=network, labels=self.labels),
            self.real,
            self.extractor,
            self.section.metrics,
            samples=self.section.samples,
            batch_size=self.section.batch_size,
            cache=self.cache,
            options=Options(subset_size=self.section.subset_size, infinity=self.section.infinity),
        )


def extractor_of(features: Any, device: torch.device | str) -> Extractor:
    """The extractor that a config's ``features`` describes."""
    if isinstance(features, str):
        return make_extractor(features, device=device)
    return make_extractor(features.name, features.weights, features.digest, device)


# What the metrics are called in a report: with InceptionV3, and with other features.
NAMES = {
    "fid": ("fid", "frechet_distance"),
    "isc": ("inception_score",),
    "kid": ("kid", "kernel_distance"),
    "ppl": ("perceptual_path_length",),
}


def best_of(report: Report, metric: str) -> str:
    """The name in the report of what a config calls ``metric``; of precision and recall, precision stands for prc."""
    known = NAMES.get(metric, ("precision" if metric == "prc" else metric,))
    for name in report.values:
        if name.partition("[")[0] in known:
            return name
    raise UserError(f"evaluate.best: {metric} is not among what was measured, {', '.join(report.values)}")
