"""The interface of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from gantrain.config.metrics import MetricDescription
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class Metric(ABC):
    """A metric of generated images, which reports one value or more.

    Attributes:
        description: the key of the metric, and the names and directions of its values.
        statistics: the statistics of images that the metric is computed from: the name of an attribute of
            :class:`~gantrain.metrics.collection.SampleStatistics` and, for a metric that compares with real images, of
            :class:`~gantrain.metrics.reference.Reference`.
    """

    description: ClassVar[MetricDescription]
    statistics: ClassVar[str]

    @abstractmethod
    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        """Refuse a source whose images are too few or of the wrong kind.

        Args:
            source: generated or real images.
            count: the number of images that are used.
            extractor: the network of the features.
            options: the options of the metrics.

        Raises:
            UserError: the message names the source and says what the metric needs.
        """

    @abstractmethod
    def values(
        self, fake: SampleStatistics, real: Reference, extractor: Extractor, options: Options
    ) -> dict[str, Value]:
        """The values by their names in the description, without direction."""

    def label(self, extractor: Extractor) -> str | None:
        """The label that the names of the values carry in brackets, None for none."""
        return extractor.label

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        """The settings that belong beside the values when they are quoted."""
        return {}

    def named_values(
        self, fake: SampleStatistics, real: Reference, extractor: Extractor, options: Options
    ) -> dict[str, Value]:
        """The values by their full names, each with its direction."""
        values, label = self.values(fake, real, extractor, options), self.label(extractor)
        return {
            reported.full_name(label): replace(values[reported.name], lower_is_better=reported.lower_is_better)
            for reported in self.description.values
            if reported.name in values
        }
