"""The outcome of an evaluation: numbers, and what belongs beside them when they are quoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """One value of a metric.

    Attributes:
        value: the value; with several draws the mean over the draws.
        spread: the standard deviation over the splits (Inception score), subsets (kernel distance) or paths (perceptual
            path length) of one draw; None for other metrics.
        error: the standard error of the mean over the draws; None for one draw.
        interval: the 95 % confidence interval over the draws by Student's t; None for one draw.
        lower_is_better: the direction.
    """

    value: float
    spread: float | None = None
    error: float | None = None
    interval: tuple[float, float] | None = None
    lower_is_better: bool = True


@dataclass(frozen=True)
class Report:
    """The outcome of an evaluation.

    Attributes:
        values: the values by name; names carry the extractor's label in brackets unless the extractor is the
            InceptionV3 that FID is defined by.
        about: everything that a quotation needs: samples, extractor and its weights, preprocessing, versions, seeds,
            options.
    """

    values: Mapping[str, Value]
    about: Mapping[str, Any]

    def __getitem__(self, name: str) -> float:
        return self.values[name].value

    @property
    def scalars(self) -> dict[str, float]:
        """The bare numbers by name."""
        return {name: value.value for name, value in self.values.items()}

    def as_dict(self) -> dict[str, Any]:
        """The report as nested dicts that JSON can write."""
        return {"values": {name: asdict(value) for name, value in self.values.items()}, "about": dict(self.about)}
