"""Precision and recall, which measure fidelity and variety apart."""

from __future__ import annotations

from typing import Any

from gantrain.config.types import PositiveInt
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.points import require_neighbours
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source

# The number of rows of the matrix of distances that are in memory at a time.
_ROWS = 1000


class PrecisionRecall(Metric):
    """Precision and recall: the share of fakes in the manifold of the real samples, and of reals in that of the fakes.

    The manifold of samples is the union of the balls around them that reach to their k-th nearest neighbour. Source:
    Kynkäänniemi et al., Improved precision and recall metric for assessing generative models, NeurIPS 2019, eq. 1 and
    2; computed by torch-fidelity. They are defined by the features of VGG-16.

    Args:
        k: the ball around a sample reaches to its k-th nearest other sample, which lies inside. Default 3.
    """

    key = "prc"
    needs = ("features",)

    def __init__(self, k: PositiveInt = 3):
        self.k = k

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        require_neighbours(source, count, self.key, self.k)

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

        result = prc_features_to_metric(
            fake.features,
            real.features,
            prc_neighborhood=self.k,
            prc_batch_size=_ROWS,
            save_cpu_ram=True,
            verbose=False,
        )
        return {"precision": Value(result[KEY_METRIC_PRECISION]), "recall": Value(result[KEY_METRIC_RECALL])}

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        return {"prc_k": self.k}
