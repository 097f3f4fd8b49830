"""Density and coverage, which measure fidelity and variety apart and are robust against outliers."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

from torch import Tensor

from gantrain.config.types import PositiveInt, shown
from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.distances import count_inside, distance_to_kth_other
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.points import as_points, require_neighbours
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class DensityAndCoverage(NamedTuple):
    """The two values of :func:`density_coverage`: density, at least 0, and coverage, from 0 to 1."""

    density: float
    coverage: float


class DensityCoverage(Metric):
    """Density, the mean number of balls around real samples that a fake lies in, and coverage, the share of reals in
    whose ball a fake lies; see :func:`density_coverage`.

    Args:
        k: the ball around a real sample reaches to its k-th nearest other real sample, which lies outside. Default 5.
    """

    key = "prdc"
    needs = ("features",)

    def __init__(self, k: PositiveInt = 5):
        self.k = k

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        require_neighbours(source, count, self.key, self.k)

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        found = density_coverage(real.features.to(fake.device), fake.features.to(fake.device), self.k)
        return {name: Value(value) for name, value in found._asdict().items()}

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        return {"prdc_k": self.k}


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> DensityAndCoverage:
    """Density and coverage of fake samples, which need not be as many as the real ones.

    With ``r_i`` the distance of the real sample ``x_i`` to its k-th nearest other real sample, density is
    ``1/(k M) Σ_j Σ_i 1[|x_i - y_j| < r_i]`` over the M fake samples ``y_j``, and coverage
    ``1/N Σ_i 1[min_j |x_i - y_j| < r_i]`` over the N real ones. Source: Naeem et al., Reliable fidelity and diversity
    metrics for generative models, ICML 2020, eq. 4 and 5.

    Args:
        real: ``(n, d)``, the features of the real samples; a tensor, or what torch makes one of.
        fake: ``(m, d)``, those of the fakes.
        k: which neighbour bounds the ball. Default 5.

    Raises:
        UserError: the features are not as described, or there are no k other real samples.

    Examples:
        >>> import torch
        >>> real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [0.6]])
        >>> density_coverage(real, fake, k=1)
        DensityAndCoverage(density=2.0, coverage=0.6666666666666666)
    """
    real, fake = as_points(real, fake)
    if not isinstance(k, Integral) or isinstance(k, bool) or not 1 <= k < len(real):
        expected = f"k: expected a whole number from 1 to {len(real) - 1}, one less than there are real samples"
        raise UserError(f"{expected}, got {shown(k)}")
    inside = count_inside(real, distance_to_kth_other(real, k), fake)
    return DensityAndCoverage(
        density=inside.sum().item() / (k * len(fake)), coverage=inside.count_nonzero().item() / len(real)
    )
