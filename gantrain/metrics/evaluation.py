"""Evaluation: how near images are to other images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from gantrain.errors import Notice, UserError
from gantrain.metrics.extractor import Extractor, PathDistance
from gantrain.metrics.inception_score import InceptionScore
from gantrain.metrics.moments import MomentsByPart, extrapolated, frechet_distance
from gantrain.metrics.neighbourhoods import Features, kernel_distance, precision_recall
from gantrain.metrics.passing import Accumulator, extract
from gantrain.metrics.path_length import path_length
from gantrain.metrics.processes import Processes
from gantrain.metrics.reference import Reference, refer_to
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources import Generated, Source
from gantrain.schema import nearest, one_of

METRICS = ("fid", "isc", "kid", "prc", "ppl")
DEFAULT = METRICS[:4]
# Those that need real images.
_COMPARING = frozenset({"fid", "kid", "prc"})
# Into how many parts the samples are dealt for the extrapolation in their number.
_PARTS = 4


@dataclass(frozen=True)
class Options:
    """How the metrics are computed; the defaults are torch-fidelity's.

    Attributes:
        seed: of the shuffle before the splits of the Inception score and of the subsets of the kernel distance.
        splits: of the Inception score.
        subsets: of the kernel distance.
        subset_size: images in each.
        neighbourhood: k of precision and recall.
        infinity: whether the Fréchet distance is extrapolated to infinitely many samples as well.
        epsilon: step of the perceptual path length, relative to the path between two latents.
    """

    seed: int = 2020
    splits: int = 10
    subsets: int = 100
    subset_size: int = 1000
    neighbourhood: int = 3
    infinity: bool = False
    epsilon: float = 1e-4


def evaluate(
    fake: Source,
    real: Source | None,
    extractor: Extractor,
    metrics: Sequence[str] = DEFAULT,
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
    wanted = _checked(metrics, real)
    processes = Processes(extractor.device)
    error = None
    try:
        fake = fake.take(samples)
        real = real.take(real_samples) if wanted & _COMPARING else None
        distance = extractor.distance() if "ppl" in wanted else None
        samples = fake.count if samples is None else samples
        _check_numbers(wanted, fake, samples, real, extractor, options)
    except UserError as found:
        error = found
    processes.agree(error)
    cuda = [extractor.device] if extractor.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        needs_features = bool(wanted & {"kid", "prc"})
        reference = Reference(None, None)
        if real is not None:
            reference = refer_to(real, extractor, "fid" in wanted, needs_features, batch_size, processes, cache)
        found = [
            _measure(fake.redrawn(i), samples, extractor, distance, wanted, reference, batch_size, processes, options)
            for i in range(draws)
        ]
    values = {name: _over_draws([values[name] for values in found]) for name in found[0]}
    about = _about(fake, samples, real, extractor, wanted, draws, options)
    if distance is not None:
        about["path_distance"] = f"{distance.name}, images not rounded, epsilon {options.epsilon:g}"
    return Report(values, about)


def _measure(
    fake: Source,
    samples: int,
    extractor: Extractor,
    distance: PathDistance | None,
    wanted: set[str],
    reference: Reference,
    batch_size: int,
    processes: Processes,
    options: Options,
) -> dict[str, Value]:
    """The metrics of one draw; computed by the first process from what all have collected."""
    device = extractor.device
    parts = _PARTS if options.infinity else 1
    part = torch.randperm(samples, generator=torch.Generator().manual_seed(options.seed)) % parts
    moments = MomentsByPart(part, parts, extractor.dimensions, device) if "fid" in wanted else None
    score = None
    if "isc" in wanted:
        score = InceptionScore(samples, options.splits, extractor.classes, options.seed, device)
    features = Features(samples, extractor.dimensions) if wanted & {"kid", "prc"} else None
    kept: list[Accumulator] = [a for a in (moments, score, features) if a is not None]
    if kept:
        extract(fake, samples, extractor, kept, batch_size, processes)
    lengths = None if distance is None else path_length(fake, samples, distance, options.epsilon, processes)

    values: dict[str, Value] = {}
    if processes.rank == 0:
        if moments is not None:
            found = frechet_distance(moments.whole, reference.moments)
            values[_name(extractor, "fid", "frechet_distance")] = Value(found)
            if options.infinity:
                found = extrapolated(moments.parts, reference.moments)
                values[_name(extractor, "fid_infinity", "frechet_distance_infinity")] = Value(found)
        if score is not None:
            average, spread = score.result()
            values[_name(extractor, "inception_score")] = Value(average, spread, lower_is_better=False)
        if "kid" in wanted:
            average, spread = kernel_distance(
                features.values, reference.features, options.subsets, options.subset_size, options.seed
            )
            values[_name(extractor, "kid", "kernel_distance")] = Value(average, spread)
        if "prc" in wanted:
            shares = precision_recall(features.values, reference.features, options.neighbourhood)
            for name, share in zip(("precision", "recall"), shares, strict=True):
                values[_name(extractor, name)] = Value(share, lower_is_better=False)
        if lengths is not None:
            values[f"perceptual_path_length[{distance.label}]"] = Value(*lengths)
    return processes.from_first(values)


def _name(extractor: Extractor, genuine: str, other: str | None = None) -> str:
    return genuine if extractor.label is None else f"{other or genuine}[{extractor.label}]"


def _over_draws(values: list[Value]) -> Value:
    if len(values) == 1:
        return values[0]
    from scipy.stats import t

    average = mean(v.value for v in values)
    error = stdev(v.value for v in values) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    spread = None if values[0].spread is None else mean(v.spread for v in values)
    return Value(average, spread, error, (average - reach, average + reach), values[0].lower_is_better)


def _checked(metrics: Sequence[str], real: Source | None) -> set[str]:
    for metric in metrics:
        if metric not in METRICS:
            raise UserError(f"metrics: unknown {metric!r}; expected {one_of(METRICS)}{nearest(metric, METRICS)}")
    if not metrics:
        raise UserError(f"metrics: none were given; expected {one_of(METRICS)}")
    if real is None and set(metrics) & _COMPARING:
        raise UserError("real: no images to compare with; only isc and ppl do without")
    return set(metrics)


def _check_numbers(
    wanted: set[str], fake: Source, samples: int, real: Source | None, extractor: Extractor, options: Options
) -> None:
    counts = {fake.name: samples} if real is None else {fake.name: samples, real.name: real.count}
    if real is not None and real.count is None:
        raise UserError(f"{real.name}: a generator cannot stand for the real images")
    for name, count in counts.items():
        if "fid" in wanted and count < 2 * (_PARTS if options.infinity else 1):
            raise UserError(f"{name}: fid needs at least two images, got {count}")
        if "kid" in wanted and count < options.subset_size:
            raise UserError(
                f"{name}: kid compares subsets of {options.subset_size} images and there are {count}; take more "
                "samples, or a smaller subset_size, which is another metric"
            )
        if "prc" in wanted and count <= options.neighbourhood:
            raise UserError(
                f"{name}: prc looks at the {options.neighbourhood} nearest neighbours of each image, and there are "
                f"{count} images"
            )
        if "fid" in wanted and count <= extractor.dimensions:
            warnings.warn(
                Notice(
                    f"{name}: {count} images for {extractor.dimensions} features: their covariance is singular and "
                    f"the Fréchet distance is far too large; take more than {extractor.dimensions}, and compare it "
                    "only with values of equally many images"
                ),
                stacklevel=3,
            )
    if "ppl" in wanted and not isinstance(fake, Generated):
        raise UserError(f"{fake.name}: ppl is of a generator, and these are images")
    if "isc" in wanted and samples < options.splits:
        raise UserError(f"{fake.name}: isc divides the images into {options.splits} splits, and there are {samples}")


def _about(
    fake: Source,
    samples: int,
    real: Source | None,
    extractor: Extractor,
    wanted: set[str],
    draws: int,
    options: Options,
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "fake": fake.about | {"samples": samples},
        "real": None if real is None else real.about | {"samples": real.count},
        "draws": draws,
        "extractor": extractor.name,
        "weights_sha256": extractor.weights,
        "preprocessing": f"8 bits a channel, rounded to the nearest; {extractor.preprocessing}",
        "torch_fidelity": version("torch-fidelity"),
        "torch": torch.__version__,
    }
    if wanted & {"isc", "kid"}:
        about["seed"] = options.seed
    if "isc" in wanted:
        about["splits"] = options.splits
    if "kid" in wanted:
        about |= {"subsets": options.subsets, "subset_size": options.subset_size}
    if "prc" in wanted:
        about["neighbourhood"] = options.neighbourhood
    return about
