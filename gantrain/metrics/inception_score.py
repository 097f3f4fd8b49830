"""The Inception score."""

from __future__ import annotations

from typing import Any

from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class InceptionScore(Metric):
    """The Inception score ``exp(E_x KL(p(y|x) ‖ p(y)))``, mean and spread over splits of the shuffled samples.

    Source: Salimans et al., Improved techniques for training GANs, NeurIPS 2016, section 4.
    """

    key = "isc"
    needs = ("score",)

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        if not extractor.classes:
            raise UserError(
                f"isc: needs the probabilities of classes, and {extractor.name} gives features alone; leave isc out, "
                "or give it the features of a classifier, such as inception"
            )
        if count < options.splits:
            raise UserError(f"{source.name}: isc has {options.splits} splits, and there are {count} images; take more")

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        scores = fake.score.scores
        spread = scores.std(correction=0).item()
        return {"inception_score": Value(scores.mean().item(), spread)}

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        return {"splits": options.splits, "seed": options.seed}
