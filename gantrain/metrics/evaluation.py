"""Evaluation: how near images are to other images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

from gantrain.config.base import nearest, one_of
from gantrain.config.metrics import DEFAULT_METRICS, METRICS
from gantrain.config.parts import build
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import collect_statistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.extractors.factory import Extractors
from gantrain.metrics.extractors.unneeded import Unneeded
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference, make_references
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources.base import Source
from gantrain.metrics.statistics import Wanted


def evaluate(
    fake: Source,
    real: Source | None,
    extractor: Extractor | None = None,
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
        extractor: the network of the features of all metrics that have none of their own, see
            :func:`gantrain.metrics.make_extractor`. By default each of them has the network by which it is defined, on
            the CPU.
        metrics: the keys "fid" (Fréchet distance), "isc" (Inception score), "kid" (kernel distance), "prc" (precision
            and recall), "prdc" (density and coverage), "authenticity", "intra_class_fid" (the Fréchet distance within
            each class) and "ppl" (perceptual path length, of a generator), or objects: those of the package, such as
            ``DensityCoverage(k=3)``, and your own. An object's ``extractor`` may be the network of its features. By
            default the first four.
        samples: the number of images of ``fake``; by default all, where the source has an end.
        real_samples: the number of images of ``real``; by default all, as is the convention for FID.
        batch_size: images in one forward pass of the extractor.
        draws: how often a generator is sampled anew; from two on there are standard errors and confidence intervals.
        cache: a folder for the statistics of the real images.
        options: the options of the metrics.

    Returns:
        The values are called fid, fid_infinity, inception_score, kid, precision, recall and so on with the network that
        they are defined by, VGG-16 for precision, recall, density and coverage and InceptionV3 for the others, else
        frechet_distance[…], kernel_distance[…], precision[…] and so on with the extractor's label. The name of the
        perceptual path length always carries the label of its distance.

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
    chosen = _choose(metrics, real, extractor)
    _require_positive(samples=samples, real_samples=real_samples, batch_size=batch_size, draws=draws)
    processes = Processes.launched()
    with processes.raise_on_all():
        drawn = [fake.redrawn(draw).take(samples) for draw in range(draws)]
        fakes = [(each, _required(each, samples, chosen, options)) for each in drawn]
        if real is not None and any(each.metric.description.compares for each in chosen):
            real = _finite(real).take(real_samples)
            real_samples = _required(real, real_samples, chosen, options, fakes)
        else:
            real = None
        names = _full_names(chosen)
    groups = _by_extractor(chosen)
    cuda = sorted({g.extractor.device.index or 0 for g in groups if g.extractor.device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        references = [Reference() for _ in groups]
        if real is not None and real_samples is not None:
            wanted = [group.wanted(comparing=True) for group in groups]
            references = make_references(real, real_samples, wanted, batch_size, processes, cache)
        values = [_values(groups, each, n, references, batch_size, processes, options) for each, n in fakes]
    about = {
        "fake": drawn[0].provenance | {"samples": fakes[0][1]},
        "real": None if real is None else real.provenance | {"samples": real_samples},
        "draws": draws,
        **_circumstances(groups, options),
    }
    measured = [name for name in names if name in values[0]]
    return Report({name: _over_draws([draw[name] for draw in values]) for name in measured}, about)


def require_measurable(
    fake: Source,
    real: Source,
    extractor: Extractor | None,
    metrics: Sequence[str | Metric],
    *,
    samples: int | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> None:
    """Refuse what :func:`evaluate` would refuse before it looks at an image; the arguments are those of that function.

    Raises:
        UserError: a metric is unknown, or there are too few images for it.
    """
    chosen = _choose(metrics, real, extractor)
    fake = fake.take(samples)
    number = _required(fake, samples, chosen, options)
    if any(each.metric.description.compares for each in chosen):
        _required(_finite(real), None, chosen, options, [(fake, number)])
    _full_names(chosen)


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


class _Chosen(NamedTuple):
    """A metric, and the network of its features."""

    metric: Metric
    extractor: Extractor


@dataclass(frozen=True)
class _Group:
    """The metrics that share a network of features."""

    extractor: Extractor
    metrics: Sequence[Metric]

    def wanted(self, comparing: bool = False) -> Wanted:
        """The statistics that the metrics need; with ``comparing`` those of real images."""
        metrics = [metric for metric in self.metrics if metric.description.compares or not comparing]
        return Wanted(self.extractor, {need for metric in metrics for need in metric.needs})


def _choose(metrics: Sequence[str | Metric], real: Source | None, extractor: Extractor | None) -> list[_Chosen]:
    """The metrics that are asked for: those of the package in the order of their table, then the user's own."""
    require_known(metrics)
    # By their places in memory, since an object of the user's own need not be hashable.
    unique = {metric if isinstance(metric, str) else id(metric): metric for metric in metrics}
    made: list[Metric] = [build("metric", metric) if isinstance(metric, str) else metric for metric in unique.values()]
    made.sort(key=lambda metric: list(METRICS).index(metric.key) if metric.key else len(METRICS))
    for metric in made:
        if real is None and metric.description.compares:
            raise UserError(f"real: {metric.description.key} compares with real images, and none were given")
    networks = [network for network in (extractor, *(metric.extractor for metric in made)) if network is not None]
    extractors, unneeded = Extractors(), Unneeded(networks[0].device if networks else "cpu")
    return [_Chosen(metric, _extractor_of(metric, extractor, extractors, unneeded)) for metric in made]


def _extractor_of(metric: Metric, given: Extractor | None, extractors: Extractors, unneeded: Unneeded) -> Extractor:
    if not metric.needs_features:
        return unneeded
    return metric.extractor or given or extractors.make(metric.description.features)


def _full_names(chosen: Sequence[_Chosen]) -> list[str]:
    """The names of all values that the metrics may report.

    Raises:
        UserError: two values have the same name.
    """
    names = [value.full_name(m.label(e)) for m, e in chosen for value in m.description.values]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"metrics: {name} is reported twice; leave one out, or give it other features")
    return names


def _by_extractor(chosen: Sequence[_Chosen]) -> list[_Group]:
    """The metrics in groups that share a network of features."""
    groups: dict[int, _Group] = {}
    for each in chosen:
        metrics = groups[id(each.extractor)].metrics if id(each.extractor) in groups else ()
        groups[id(each.extractor)] = _Group(each.extractor, [*metrics, each.metric])
    return list(groups.values())


def _require_positive(**numbers: int | None) -> None:
    for key, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"{key}: expected at least 1, got {number}")


def _finite(real: Source) -> Source:
    if real.count is None:
        raise UserError(f"{real.name}: a generator cannot stand for the real images")
    return real


def _required(
    source: Source,
    samples: int | None,
    chosen: Sequence[_Chosen],
    options: Options,
    fakes: Sequence[tuple[Source, int]] = (),
) -> int:
    """The number of images of a source, which is enough for the metrics.

    Args:
        source: the source, which has as many images as are asked for.
        samples: this number; None for all images.
        chosen: the metrics.
        options: the options of the metrics.
        fakes: the sources that are compared with the source, if it is that of the real images, and their numbers of
            images.
    """
    count = source.count if samples is None else samples
    if count is None:
        raise UserError(f"{source.name}: how many samples? Give samples, such as 10000")
    for metric, extractor in chosen:
        if metric.description.compares or not fakes:
            metric.require_images(source, count, extractor, options)
            for fake, number in fakes:
                metric.require_alike(fake, number, source, count)
    return count


def _values(
    groups: Sequence[_Group],
    fake: Source,
    samples: int,
    references: Sequence[Reference],
    batch_size: int,
    processes: Processes,
    options: Options,
) -> dict[str, Value]:
    """The values of the metrics for one draw, the same in all processes."""
    wanted = [group.wanted() for group in groups]
    found = collect_statistics(fake, samples, wanted, batch_size, processes, options)
    values: dict[str, Value] = {}
    with processes.all_work():
        for group, statistics, reference in zip(groups, found, references, strict=True):
            for metric in group.metrics if processes.rank == 0 else ():
                values |= metric.named_values(statistics, reference, group.extractor)
    return processes.broadcast_object(values)


def _circumstances(groups: Sequence[_Group], options: Options) -> Mapping[str, Any]:
    """The entries of the report beside the samples: the extractors, versions, and the settings of the metrics."""
    extractors = [group.extractor for group in groups if not isinstance(group.extractor, Unneeded)]
    entries: dict[str, Callable[[Extractor], str]] = {
        "extractor": lambda extractor: extractor.name,
        "weights_sha256": lambda extractor: extractor.weights,
        "preprocessing": lambda extractor: f"8 bits a channel, rounded to the nearest; {extractor.preprocessing}",
    }
    circumstances: dict[str, Any] = {
        key: entry(extractors[0]) if len(extractors) == 1 else {each.label: entry(each) for each in extractors}
        for key, entry in (entries if extractors else {}).items()
    }
    circumstances |= {"torch_fidelity": version("torch-fidelity"), "torch": torch.__version__}
    for group in groups:
        for metric in group.metrics:
            circumstances |= metric.settings(group.extractor, options)
    return circumstances


def _over_draws(values: Sequence[Value]) -> Value:
    """The mean over the draws, with its standard error and confidence interval."""
    if len(values) == 1:
        return values[0]
    from scipy.stats import t

    numbers = [v.value for v in values]
    average = mean(numbers)
    # A metric of the user's own may be NaN or infinite.
    error = stdev(numbers) / math.sqrt(len(numbers)) if all(map(math.isfinite, numbers)) else math.nan
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    spreads = [v.spread for v in values if v.spread is not None]
    spread = mean(spreads) if spreads else None
    return Value(average, spread, error, (average - reach, average + reach), values[0].lower_is_better)
