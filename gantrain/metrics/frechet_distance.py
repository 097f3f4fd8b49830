"""The Fréchet distance; with InceptionV3 it is the FID."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from gantrain.errors import Notice, UserError
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class FrechetDistance(Metric):
    """The Fréchet distance between the two Gaussians that have the moments of the fake and of the real features.

    With ``options.infinity`` the metric also reports the distance extrapolated in the number of samples.
    """

    key = "fid"
    needs = ("moments",)

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        least = 8 if options.infinity else 2
        if count < least:
            raise UserError(f"{source.name}: fid needs at least {least} images, got {count}")
        if count <= extractor.dimensions:
            warnings.warn(
                Notice(
                    f"{source.name}: {count} images for {extractor.dimensions} features: their covariance is singular "
                    f"and the Fréchet distance is far too large; take more than {extractor.dimensions}, and compare it "
                    "only with values of equally many images"
                ),
                stacklevel=2,
            )

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        values = {"fid": Value(frechet_distance(fake.moments.whole, real.moments))}
        if fake.options.infinity:
            values["fid_infinity"] = Value(extrapolated_distance(fake.moments.parts, real.moments))
        return values


def frechet_distance(a: Moments, b: Moments) -> float:
    """``|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½)``.

    Source: Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, NeurIPS
    2017, eq. 6; computed by torch-fidelity.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    statistics = [{"mu": m.mean.cpu().numpy(), "sigma": m.covariance.cpu().numpy()} for m in (a, b)]
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def extrapolated_distance(parts: Sequence[Moments], real: Moments) -> float:
    """The Fréchet distance that infinitely many samples would have: the intercept of its line in ``1 / n``.

    The distance of n samples is too large by about ``c / n``. The distance is computed for all samples, for each half
    and for each quarter and averaged over the parts of one size; the line is fitted by least squares. Source: Chong and
    Forsyth, Effectively unbiased FID and Inception score and where to find them, CVPR 2020, section 4.

    Args:
        parts: four parts of the samples, of about equal size.
        real: the moments of the other distribution, which are not extrapolated.
    """
    first, second, third, fourth = parts
    halves = [first.joined(second), third.joined(fourth)]
    levels = [[halves[0].joined(halves[1])], halves, list(parts)]
    inverse = torch.stack([torch.stack([1 / m.count for m in level]).mean() for level in levels]).cpu()
    averages = [sum(frechet_distance(m, real) for m in level) / len(level) for level in levels]
    distances = torch.tensor(averages, dtype=torch.float64)
    centred = inverse - inverse.mean()
    slope = (centred * distances).sum() / centred.square().sum()
    return float(distances.mean() - slope * inverse.mean())
