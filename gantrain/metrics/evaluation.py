"""Evaluation: how near images are to other images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev

import torch

from gantrain.config.base import nearest, one_of
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import collect
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.frechet_distance import FrechetDistance
from gantrain.metrics.inception_score import InceptionScore
from gantrain.metrics.kernel_distance import KernelDistance
from gantrain.metrics.options import Options
from gantrain.metrics.perceptual_path_length import PerceptualPathLength
from gantrain.metrics.precision_recall import PrecisionRecall
from gantrain.metrics.reference import Reference, refer_to
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources.base import Source

METRICS: dict[str, type[Metric]] = {
    metric.key: metric
    for metric in (FrechetDistance, InceptionScore, KernelDistance, PrecisionRecall, PerceptualPathLength)
}


def evaluate(
    fake: Source,
    real: Source | None,
    extractor: Extractor,
    metrics: Sequence[str] = ("fid", "isc", "kid", "prc"),
    *,
    samples: int | None = None,
    real_samples: int | None = None,
    batch_size: int = 64,
    draws: int = 1,
    cache: str | Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> Report:
    """Metrics of ``fake`` against ``real``, equal to those of torch-fidelity on the same images as PNG files.

    Where ``torch.distributed`` has several processes all must call this with the same arguments: they share the images,
    and all get the same report. Random states, modes and buffers are left as they were.

    Args:
        fake: what is judged.
        real: what it is judged by; None if only metrics of ``fake`` alone are asked for, "isc" and "ppl".
        extractor: of the features, see :func:`gantrain.metrics.make_extractor`.
        metrics: of "fid" (Fréchet distance), "isc" (Inception score), "kid" (kernel distance), "prc" (precision and
            recall) and "ppl" (perceptual path length, of a generator).
        samples: images of ``fake``; by default all, where there is an end of them.
        real_samples: images of ``real``, all by default, as is the convention for FID.
        batch_size: images in one forward pass of the extractor.
        draws: how often a generator is sampled anew; from two on there are standard errors and confidence intervals.
        cache: a folder for the statistics of the real images.
        options: of the metrics.

    Returns:
        Names are fid, fid_infinity, inception_score, kid, precision and recall with the InceptionV3 that they are
        defined by, else frechet_distance[…], kernel_distance[…] and so on with the extractor's label. That of the
        perceptual path length always carries its distance.

    Raises:
        UserError: an unknown metric, too few images, images that do not fit the extractor, files that cannot be read, a
            generator that returns NaN.
    """
    chosen = _chosen(metrics, real)
    numbers = {"samples": samples, "real_samples": real_samples, "batch_size": batch_size, "draws": draws}
    for key, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"{key}: expected at least 1, got {number}")
    processes = Processes.launched()
    uses = {metric.uses for metric in chosen}
    compared = {metric.uses for metric in chosen if metric.compares}
    with processes.raise_on_all():
        fake = fake.take(samples)
        fake.redrawn(draws - 1)
        samples = fake.count if samples is None else samples
        real = _taken(real, real_samples) if compared else None
        for metric in chosen:
            metric.check(fake, samples, extractor, options)
            if metric.compares:
                metric.check(real, real.count, extractor, options)
    with torch.random.fork_rng(devices=[extractor.device] if extractor.device.type == "cuda" else []):
        reference = Reference()
        if real is not None:
            reference = refer_to(real, extractor, compared, batch_size, processes, cache)
        found = []
        for draw in range(draws):
            collected = collect(fake.redrawn(draw), samples, extractor, uses, batch_size, processes, options)
            values = {}
            if processes.rank == 0:
                for metric in chosen:
                    values |= metric.values(collected, reference, extractor, options)
            found.append(processes.broadcast_object(values))
    about = {
        "fake": fake.about | {"samples": samples},
        "real": None if real is None else real.about | {"samples": real.count},
        "draws": draws,
        "extractor": extractor.name,
        "weights_sha256": extractor.weights,
        "preprocessing": f"8 bits a channel, rounded to the nearest; {extractor.preprocessing}",
        "torch_fidelity": version("torch-fidelity"),
        "torch": torch.__version__,
    }
    for metric in chosen:
        about |= metric.about(extractor, options)
    return Report({name: _over_draws([values[name] for values in found]) for name in found[0]}, about)


def _chosen(metrics: Sequence[str], real: Source | None) -> list[Metric]:
    """The metrics that are asked for, in a fixed order."""
    for key in metrics:
        if key not in METRICS:
            raise UserError(f"metrics: unknown {key!r}; expected {one_of(METRICS)}{nearest(key, METRICS)}")
    if not metrics:
        raise UserError(f"metrics: none were given; expected {one_of(METRICS)}")
    chosen = [METRICS[key]() for key in METRICS if key in metrics]
    comparing = next((metric.key for metric in chosen if metric.compares), None)
    if real is None and comparing:
        raise UserError(f"real: {comparing} compares with real images, and none were given")
    return chosen


def _taken(real: Source, samples: int | None) -> Source:
    if real.count is None:
        raise UserError(f"{real.name}: a generator cannot stand for the real images")
    return real.take(samples)


def _over_draws(values: list[Value]) -> Value:
    if len(values) == 1:
        return values[0]
    from scipy.stats import t

    average = mean(v.value for v in values)
    error = stdev(v.value for v in values) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    spread = None if values[0].spread is None else mean(v.spread for v in values)
    return Value(average, spread, error, (average - reach, average + reach), values[0].lower_is_better)
