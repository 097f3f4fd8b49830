"""The table of metrics: their keys, the values that each reports, and how those are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReportedValue:
    """A value that a metric reports.

    Attributes:
        name: the name of the value if it is measured with the features by which the metric is defined.
        general_name: the name of the value with other features, whose label follows in brackets; None for the same
            name.
        lower_is_better: whether a lower value is better than a higher one.
        best: the word in ``evaluate.best`` that keeps the checkpoint with the best such value; None if there is no such
            word.
    """

    name: str
    general_name: str | None = None
    lower_is_better: bool = True
    best: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a report may give the value, without the label in brackets."""
        return (self.name,) if self.general_name is None else (self.name, self.general_name)

    def full_name(self, label: str | None) -> str:
        """The name in a report. ``label`` is the label of the features; None stands for those of the definition."""
        return self.name if label is None else f"{self.names[-1]}[{label}]"


@dataclass(frozen=True)
class MetricDescription:
    """The description of a metric, which is known without computing it.

    Attributes:
        key: the word for the metric in configs and on the command line.
        values: the values in the order in which they are reported; the first is the one that checkpoints are compared
            by if ``evaluate.best`` names none.
        compares: whether the metric compares with real images.
        default: whether the metric is computed if no metrics are named.
        features: the published network by which the metric is defined.
        target: ``module:Class`` of a metric of the package; empty for a metric of the user's own.
    """

    key: str
    values: tuple[ReportedValue, ...]
    compares: bool = True
    default: bool = False
    features: str = "inception"
    target: str = ""


def _table(*descriptions: MetricDescription) -> dict[str, MetricDescription]:
    return {description.key: description for description in descriptions}


METRICS = _table(
    MetricDescription(
        "fid",
        (
            ReportedValue("fid", "frechet_distance", best="fid"),
            ReportedValue("fid_infinity", "frechet_distance_infinity"),
        ),
        default=True,
        target="gantrain.metrics.frechet_distance:FrechetDistance",
    ),
    MetricDescription(
        "isc",
        (ReportedValue("inception_score", lower_is_better=False, best="isc"),),
        compares=False,
        default=True,
        target="gantrain.metrics.inception_score:InceptionScore",
    ),
    MetricDescription(
        "kid",
        (ReportedValue("kid", "kernel_distance", best="kid"),),
        default=True,
        target="gantrain.metrics.kernel_distance:KernelDistance",
    ),
    MetricDescription(
        "prc",
        (
            ReportedValue("precision", lower_is_better=False, best="precision"),
            ReportedValue("recall", lower_is_better=False, best="recall"),
        ),
        default=True,
        features="vgg16",
        target="gantrain.metrics.precision_recall:PrecisionRecall",
    ),
    MetricDescription(
        "prdc",
        (
            ReportedValue("density", lower_is_better=False, best="density"),
            ReportedValue("coverage", lower_is_better=False, best="coverage"),
        ),
        features="vgg16",
        target="gantrain.metrics.density:DensityCoverage",
    ),
    MetricDescription(
        "authenticity",
        (
            ReportedValue("authenticity", lower_is_better=False, best="authenticity"),
            ReportedValue("memorised", best="memorised"),
        ),
        target="gantrain.metrics.memorisation:Authenticity",
    ),
    MetricDescription(
        "intra_class_fid",
        (ReportedValue("intra_class_fid", "intra_class_frechet_distance", best="intra_class_fid"),),
        target="gantrain.metrics.intra_class_fid:IntraClassFrechetDistance",
    ),
    MetricDescription(
        "ppl",
        (ReportedValue("perceptual_path_length", best="ppl"),),
        compares=False,
        target="gantrain.metrics.perceptual_path_length:PerceptualPathLength",
    ),
)
DEFAULT_METRICS = tuple(key for key, description in METRICS.items() if description.default)
# The words that ``evaluate.best`` knows, with the metric that must be measured for each.
BEST = {value.best: key for key, metric in METRICS.items() for value in metric.values if value.best is not None}
# The names of values that are ours, and of the columns of metrics.jsonl.
_TAKEN = {
    *(name for metric in METRICS.values() for value in metric.values for name in value.names),
    *BEST,
    *("step", "time", "outer_steps", "kimg", "images_per_second"),
}


def own_description(name: str, better: Any, compares: bool, needs: Any) -> MetricDescription:
    """The description of a metric of the user's own.

    Args:
        name: the name of the metric's class.
        better: the class attribute ``better``: name of a value -> "lower" or "higher".
        compares: the class attribute ``compares``.
        needs: the class attribute ``needs``: some of "features" and "images".

    Raises:
        ValueError: ``better`` or ``needs`` is something else, or a name cannot stand in the log.
    """
    ways = better.values() if isinstance(better, Mapping) else ()
    if not ways or not all(way in ("lower", "higher") for way in ways):
        raise ValueError(f'{name}.better: expected the values that it reports, as in {{"{name.lower()}": "lower"}}')
    for value in better:
        if not isinstance(value, str) or not value.isidentifier() or value in _TAKEN:
            raise ValueError(
                f"{name}.better: expected names like those of variables, and none of gantrain's, got {value!r}"
            )
    if not isinstance(needs, tuple | list) or not needs or not all(need in ("features", "images") for need in needs):
        raise ValueError(f'{name}.needs: expected ("features",), ("images",) or both, got {needs!r}')
    values = tuple(ReportedValue(value, None, way == "lower", value) for value, way in better.items())
    return MetricDescription(name, values, compares)


def value_for(word: str) -> ReportedValue:
    """The value by which checkpoints are compared if a config names the metric, or the word in ``BEST``.

    Raises:
        KeyError: there is no such word.
    """
    if word in METRICS:
        return METRICS[word].values[0]
    return next(value for value in METRICS[BEST[word]].values if value.best == word)


def value_names(word: str) -> tuple[str, ...]:
    """The names in reports, without labels, of the values that a metric's key stands for.

    A word that is no key of a metric is taken for the name of a value.
    """
    if word not in METRICS:
        return (word,)
    return tuple(name for value in METRICS[word].values if value.best is not None for name in value.names)
