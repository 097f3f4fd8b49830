"""The callback that measures a generator's metrics while the generator trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.config.metrics import value_for
from gantrain.config.parts import build
from gantrain.config.sections import Evaluate
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame
from gantrain.metrics import Extractor, Generated, Images, Options, Report, evaluate, make_extractor
from gantrain.metrics.evaluation import require_measurable
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result
from gantrain.utils.seeding import derive

# The statistics of the real images, shared by all runs in a folder.
CACHE = ".statistics"


class MetricEvaluation(Callback):
    """Measures the metrics of a generator's samples.

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
        self.weights = section.weights
        self.section = section
        self.game = game
        self.labels = data.labels
        self.seed = derive(seed, "evaluation")
        self.cache = Path(folder) / CACHE
        self.extractor = extractor_of(section.features, device, trust)
        against = data if section.data is None else build("data", section.data)
        for name, spec in (("data", data.spec), ("evaluate.data", against.spec)):
            self.extractor.require_shape(tuple(spec.shape), name)
        self.real = Images(against)
        self.options = Options(subset_size=section.subset_size, infinity=section.infinity)
        try:
            generated = Generated.of(game, self.seed, labels=self.labels)
            require_measurable(
                generated, self.real, self.extractor, section.metrics, samples=section.samples, options=self.options
            )
        except UserError as error:
            raise UserError(f"evaluate: {error}") from None

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Measure the metrics, log them, and return them as a line, with the cost of the checkpoint."""
        report = self.measure(network)
        monitor.scalars(step, report.scalars)
        name = name_of_best(report, self.section.best or self.section.metrics[0])
        value = report.values[name]
        words = "  ".join(f"{key} {v.value:.4g}" for key, v in report.values.items())
        return Result(f"step {step}: {words}", name, value.value if value.lower_is_better else -value.value)

    def measure(self, network: nn.Module) -> Report:
        """The metrics of the samples that ``network`` makes. All processes get the same values."""
        return evaluate(
            Generated.of(self.game, self.seed, network=network, labels=self.labels),
            self.real,
            self.extractor,
            self.section.metrics,
            samples=self.section.samples,
            batch_size=self.section.batch_size,
            cache=self.cache,
            options=self.options,
        )


def extractor_of(features: Any, device: torch.device | str, trust: bool = False) -> Extractor:
    """The feature extractor that the key ``features`` of a config describes; ``trust`` as in ``make_extractor``."""
    if isinstance(features, str):
        return make_extractor(features, device=device, trust=trust)
    return make_extractor(features.name, features.weights, features.digest, device)


def name_of_best(report: Report, word: str) -> str:
    """The full name, in a report, of the value by which checkpoints are compared.

    Args:
        report: the report.
        word: the word in ``evaluate.best``, or the first key in ``evaluate.metrics``.

    Raises:
        UserError: the report has no such value.
    """
    names = value_for(word).names
    for name in report.values:
        if name.partition("[")[0] in names:
            return name
    raise UserError(f"evaluate.best: {word} was not measured; measured were {', '.join(report.values)}")
