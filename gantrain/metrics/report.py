"""Numbers with what belongs beside them when they are quoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Value:
    """One number.

    Attributes:
        value: the metric; with several draws its mean over them.
        spread: standard deviation over the splits (Inception score), subsets (kernel distance) or paths (perceptual
            path length) of one draw; None where there is no such thing.
        error: standard error of the mean over the draws; None for one draw.
        interval: 95 % confidence interval over the draws by Student's t; None for one draw.
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
        values: by name; names carry the extractor in brackets unless it is the InceptionV3 that FID is defined by.
        about: what a quotation needs: samples, extractor and its weights, preprocessing, versions, seeds, options.
    """

    values: Mapping[str, Value]
    about: Mapping[str, Any]

    def __getitem__(self, name: str) -> float:
        return self.values[name].value

    @property
    def scalars(self) -> dict[str, float]:
        """Name -> value."""
        return {name: value.value for name, value in self.values.items()}

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"values": {name: asdict(value) for name, value in self.values.items()}, "about": dict(self.about)}
