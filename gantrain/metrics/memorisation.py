"""Authenticity, which finds fakes that copy real samples."""

from __future__ import annotations

from torch import Tensor

from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.distances import distance_to_kth_other, nearest
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.points import as_points, require_neighbours
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class Authenticity(Metric):
    """Authenticity, the share of fakes that copy no real sample, see :func:`authenticity`, and the share of the others,
    which are memorised.

    The real samples must be those that the generator was trained on: of others it copies none.
    """

    key = "authenticity"
    needs = ("features",)

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        require_neighbours(source, count, self.key, 1)

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        share = authenticity(real.features.to(fake.device), fake.features.to(fake.device))
        return {"authenticity": Value(share), "memorised": Value(1 - share)}


def authenticity(real: Tensor, fake: Tensor) -> float:
    """The share of fakes that are farther from their nearest real sample than that is from its nearest other real one.

    Of several real samples that are equally near to a fake the first counts. Source: Alaa et al., How faithful is your
    synthetic data? Sample-level metrics for evaluating and auditing generative models, ICML 2022, section 3.3.

    Args:
        real: ``(n, d)``, the features of the real samples, at least two; a tensor, or what torch makes one of.
        fake: ``(m, d)``, those of the fakes.

    Raises:
        UserError: the features are not as described.

    Examples:
        >>> import torch
        >>> real, fake = torch.tensor([[0.0], [1.0], [4.0]]), torch.tensor([[0.1], [2.4], [9.0]])
        >>> authenticity(real, fake)
        0.6666666666666666
    """
    real, fake = as_points(real, fake)
    if len(real) < 2:
        raise UserError(f"real: expected at least 2 samples, got {len(real)}")
    squares, numbers = nearest(fake, real)
    return (squares > distance_to_kth_other(real, 1)[numbers]).double().mean().item()
