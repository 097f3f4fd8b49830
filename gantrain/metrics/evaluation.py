"""Evaluation: how near images are to other images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from gantrain.config.base import nearest, one_of
from gantrain.config.metrics import DEFAULT_METRICS, METRICS
from gantrain.config.parts import build
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import collect_statistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference, make_reference
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources.base import Source


def evaluate(
    fake: Source,
    real: Source | None,
    extractor: Extractor,
    metrics: Sequence[str | Metric] = DEFAULT_METRICS,
    *,
    samples: int | None = None,
    real_samples: int | None = None,
    batch_size: int = 64,
    draws: int = 1,
    cache: str | Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> Report:
    """Compute metrics of ``fake`` against ``real``, equal to those of torch-fidelity on the same images as PNG files.

    Where ``torch.distributed`` has several processes, all of them must call this function with the same arguments: they
    share the images and all return the same report. Random states, modes and buffers are left as they were.

    Args:
        fake: the images that are judged.
        real: the images that ``fake`` is compared with; None if only metrics that compare with nothing are asked for,
            "isc" and "ppl".
        extractor: the network of the features, see :func:`gantrain.metrics.make_extractor`.
        metrics: the keys "fid" (Fréchet distance), "isc" (Inception score), "kid" (kernel distance), "prc" (precision
            and recall) and "ppl" (perceptual path length, of a generator), or metrics of your own. By default the first
            four.
        samples: the number of images of ``fake``; by default all, where the source has an end.
        real_samples: the number of images of ``real``; by default all, as is the convention for FID.
        batch_size: images in one forward pass of the extractor.
        draws: how often a generator is sampled anew; from two on there are standard errors and confidence intervals.
        cache: a folder for the statistics of the real images.
        options: the options of the metrics.

    Returns:
        The values are called fid, fid_infinity, inception_score, kid, precision and recall with the InceptionV3 that
        they are defined by, else frechet_distance[…], kernel_distance[…] and so on with the extractor's label. The name
        of the perceptual path length always carries the label of its distance.

    Raises:
        UserError: a metric is unknown, there are too few images, images do not fit the extractor, a file cannot be
            read, or a generator returns NaN.

    Examples:
        >>> from gantrain.data import Digits
        >>> from gantrain.metrics import Images, make_extractor
        >>> images, features = Images(Digits()), make_extractor("checkpoints/digits-classifier")
        >>> report = evaluate(images.take(500), images, features, ["fid"])
        >>> [f"{name} {value.value:.0f}" for name, value in report.values.items()]
        ['frechet_distance[digits-classifier] 1']
    """
    chosen = _choose(metrics, real)
    _require_positive(samples=samples, real_samples=real_samples, batch_size=batch_size, draws=draws)
    processes = Processes.launched()
    comparing = [metric for metric in chosen if metric.description.compares]
    with processes.raise_on_all():
        fake.redrawn(draws - 1)
        fake, samples = _required(fake, samples, chosen, extractor, options)
        if real is not None and comparing:
            real, real_samples = _required(_finite(real), real_samples, comparing, extractor, options)
    with torch.random.fork_rng(devices=[extractor.device] if extractor.device.type == "cuda" else []):
        reference = Reference()
        if real is not None and real_samples is not None and comparing:
            needed = {need for metric in comparing for need in metric.needs}
            reference = make_reference(real, real_samples, extractor, needed, batch_size, processes, cache)
        values = [
            _values(chosen, fake.redrawn(draw), samples, reference, extractor, batch_size, processes, options)
            for draw in range(draws)
        ]
    about = {
        "fake": fake.provenance | {"samples": samples},
        "real": real.provenance | {"samples": real_samples} if real is not None and comparing else None,
        "draws": draws,
        **_circumstances(chosen, extractor, options),
    }
    return Report({name: _over_draws([draw[name] for draw in values]) for name in values[0]}, about)


def require_measurable(
    fake: Source,
    real: Source,
    extractor: Extractor,
    metrics: Sequence[str | Metric],
    *,
    samples: int | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> None:
    """Refuse what :func:`evaluate` would refuse before it looks at an image; the arguments are those of that function.

    Raises:
        UserError: a metric is unknown, or there are too few images for it.
    """
    chosen = _choose(metrics, real)
    _required(fake, samples, chosen, extractor, options)
    comparing = [metric for metric in chosen if metric.description.compares]
    if comparing:
        _required(_finite(real), None, comparing, extractor, options)


def require_known(metrics: Sequence[str | Metric]) -> None:
    """Refuse names that are no metric's, and an empty list.

    Raises:
        UserError: there is such a name, or none at all.
    """
    if not metrics:
        raise UserError(f"metrics: none were given; expected {one_of(METRICS)}")
    for key in metrics:
        if isinstance(key, str) and key not in METRICS:
            raise UserError(f"metrics: unknown {key!r}; expected {one_of(METRICS)}{nearest(key, METRICS)}")


def _choose(metrics: Sequence[str | Metric], real: Source | None) -> list[Metric]:
    """The metrics that are asked for: those of the package in the order of their table, then the user's own."""
    require_known(metrics)
    keys = [metric for metric in metrics if isinstance(metric, str)]
    chosen = [build("metric", key) for key in METRICS if key in keys]
    chosen += [metric for metric in metrics if isinstance(metric, Metric)]
    for metric in chosen:
        if real is None and metric.description.compares:
            raise UserError(f"real: {metric.description.key} compares with real images, and none were given")
    return chosen


def _require_positive(**numbers: int | None) -> None:
    for key, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"{key}: expected at least 1, got {number}")


def _finite(real: Source) -> Source:
    if real.count is None:
        raise UserError(f"{real.name}: a generator cannot stand for the real images")
    return real


def _required(
    source: Source, samples: int | None, metrics: Sequence[Metric], extractor: Extractor, options: Options
) -> tuple[Source, int]:
    """The source with as many images as are asked for, and their number, which is enough for the metrics."""
    source = source.take(samples)
    count = source.count if samples is None else samples
    if count is None:
        raise UserError(f"{source.name}: how many samples? Give samples, such as 10000")
    for metric in metrics:
        metric.require_images(source, count, extractor, options)
    return source, count


def _values(
    metrics: Sequence[Metric],
    fake: Source,
    samples: int,
    reference: Reference,
    extractor: Extractor,
    batch_size: int,
    processes: Processes,
    options: Options,
) -> dict[str, Value]:
    """The values of the metrics for one draw, the same in all processes."""
    needed = {need for metric in metrics for need in metric.needs}
    statistics = collect_statistics(fake, samples, extractor, needed, batch_size, processes, options)
    values: dict[str, Value] = {}
    with processes.raise_on_all():
        for metric in metrics if processes.rank == 0 else ():
            values |= metric.named_values(statistics, reference, extractor)
    return processes.broadcast_object(values)


def _circumstances(metrics: Sequence[Metric], extractor: Extractor, options: Options) -> Mapping[str, Any]:
    """The entries of the report beside the samples: the extractor, versions, and the settings of the metrics."""
    circumstances = {
        "extractor": extractor.name,
        "weights_sha256": extractor.weights,
        "preprocessing": f"8 bits a channel, rounded to the nearest; {extractor.preprocessing}",
        "torch_fidelity": version("torch-fidelity"),
        "torch": torch.__version__,
    }
    for metric in metrics:
        circumstances |= metric.settings(extractor, options)
    return circumstances


def _over_draws(values: Sequence[Value]) -> Value:
    """The mean over the draws, with its standard error and confidence interval."""
    if len(values) == 1:
        return values[0]
    from scipy.stats import t

    average = mean(v.value for v in values)
    error = stdev(v.value for v in values) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    spreads = [v.spread for v in values if v.spread is not None]
    spread = mean(spreads) if spreads else None
    return Value(average, spread, error, (average - reach, average + reach), values[0].lower_is_better)
