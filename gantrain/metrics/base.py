"""What all metrics have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gantrain.metrics.collection import Collected
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class Metric(ABC):
    """A metric, which may have several values.

    Attributes:
        key: what it is asked for by.
        compares: whether it needs real images.
        uses: what it needs of the judged images, and of the real ones if it compares: an attribute of
            :class:`gantrain.metrics.collection.Collected`.
    """

    key: str
    compares = True
    uses: str

    @abstractmethod
    def check(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        """Whether ``count`` images of a source, judged or real, are enough.

        Raises:
            UserError: they are not.
        """

    @abstractmethod
    def values(self, fake: Collected, real: Reference, extractor: Extractor, options: Options) -> dict[str, Value]:
        """By name, with the extractor's label."""

    def about(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        """What belongs beside the values."""
        return {}


def named(extractor: Extractor, genuine: str, other: str | None = None) -> str:
    """A name of a value: ``genuine`` with the network that the metric is defined by, else ``other[label]``."""
    return genuine if extractor.label is None else f"{other or genuine}[{extractor.label}]"
