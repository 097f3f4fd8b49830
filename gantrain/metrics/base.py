"""The interface of a metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from torch import Tensor

from gantrain.config.metrics import METRICS, MetricDescription, own_description
from gantrain.config.user_code import UserCode, described
from gantrain.errors import UserError
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source

Number = float | Tensor | Value


class Metric(ABC):
    """A metric of generated images, which reports one value or more.

    A metric of your own names its values in :attr:`better`, and computes them in :meth:`measure`::

        class Contrast(gt.Metric):
            better = {"contrast": "higher"}
            needs = ("images",)
            compares = False

            def measure(self, fake, real):
                return fake.images.float().std()

    In a config it stands among the others: ``evaluate.metrics: [fid, {target: "my_metrics:Contrast"}]``. The arguments
    of its constructor are its keys, and beside them it may have ``features`` of its own. ``evaluate.best`` takes the
    names of its values. Before a run begins, the metric is tried on :attr:`least` images. In the log, values that
    depend on features carry the label of the features, as in ``diversity[digits-classifier]``, unless the features are
    those of the InceptionV3 that defines FID.

    Attributes:
        better: the names of the values, each with the better direction, "lower" or "higher". Checkpoints are compared
            by the first value, unless ``evaluate.best`` names another.
        needs: what :meth:`measure` looks at: "features" (the default), "images", or both.
        compares: whether the metric compares with real images. Default true.
        least: the smallest number of images that the metric can be computed of, at least 1. Default 16.
        extractor: the network of the metric's features; None (the default) for the one that the evaluation is given.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]]
    needs: ClassVar[tuple[str, ...]] = ("features",)
    compares: ClassVar[bool] = True
    least: int = 16
    extractor: Extractor | None = None
    # The key of a metric of gantrain's in the table of metrics.
    key: ClassVar[str] = ""

    @abstractmethod
    def measure(self, fake: SampleStatistics, real: Reference) -> Number | Mapping[str, Number]:
        """The value of the metric, or its values by name where it reports several.

        Only the first process calls this. All tensors are on the CPU.

        Args:
            fake: the generated images: ``fake.features``, ``(n, d)`` float32, the features of n images;
                ``fake.images``, ``(n, channels, height, width)`` uint8, the images with levels from 0 to 255.
            real: the real images, in the same form: ``real.features`` and ``real.images``. They are missing if
                :attr:`compares` is false.

        Returns:
            A number, a tensor of one element, or a :class:`~gantrain.metrics.Value`, which also holds a spread.
        """

    @property
    def description(self) -> MetricDescription:
        """The name of the metric, and the names and directions of its values.

        Raises:
            UserError: :attr:`better` does not say them.
        """
        if self.key:
            return METRICS[self.key]
        try:
            return own_description(type(self).__name__, getattr(self, "better", None), self.compares, self.needs)
        except ValueError as error:
            raise UserError(f"metrics: {error}") from None

    @property
    def needs_features(self) -> bool:
        """Whether the metric needs a network of features."""
        return set(self.needs) != {"images"}

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        """Refuse a source whose images are too few or of the wrong kind; by default fewer than :attr:`least`.

        Args:
            source: generated or real images.
            count: the number of images that are used.
            extractor: the network of the features.
            options: the options of the metrics.

        Raises:
            UserError: the message names the source and says what the metric needs.
        """
        if count < self.least:
            raise UserError(f"{source.name}: {self.description.key} needs at least {self.least} images, got {count}")

    def require_alike(  # noqa: B027, most metrics compare whatever they are given
        self, fake: Source, samples: int, real: Source, real_samples: int
    ) -> None:
        """Refuse generated and real images that the metric cannot compare; by default none.

        Args:
            fake: the generated images.
            samples: the number of generated images that are used.
            real: the real images.
            real_samples: their number.

        Raises:
            UserError: the message names one of the sources and says what the metric needs.
        """

    def label(self, extractor: Extractor) -> str | None:
        """The label that the names of the values carry in brackets, None for none."""
        defined = extractor.published == self.description.features
        return extractor.label if self.needs_features and not defined else None

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        """The settings that belong beside the values when they are quoted."""
        return {}

    def named_values(self, fake: SampleStatistics, real: Reference, extractor: Extractor) -> dict[str, Value]:
        """The values by their full names, each with its direction.

        Raises:
            UserError: :meth:`measure` raises an error, or returns something else than the values.
        """
        with UserCode("metrics", self):
            found = self.measure(fake, real)
        values, label = self._by_name(found), self.label(extractor)
        return {
            reported.full_name(label): replace(values[reported.name], lower_is_better=reported.lower_is_better)
            for reported in self.description.values
            if reported.name in values
        }

    def _by_name(self, found: Any) -> dict[str, Value]:
        names = [reported.name for reported in self.description.values]
        several = found if isinstance(found, Mapping) else {names[0]: found} if len(names) == 1 else {}
        values = {name: _value(number) for name, number in several.items()}
        known = set(values) <= set(names) if self.key else set(values) == set(names)
        if not known or None in values.values():
            expected = f"a number for {names[0]}" if len(names) == 1 else f"the numbers {{{', '.join(names)}}} by name"
            raise UserError(f"metrics: {type(self).__name__}.measure: expected {expected}, got {_shown(found)}")
        return {name: value for name, value in values.items() if value is not None}


def _value(number: Any) -> Value | None:
    """A number as a value; None for what is no number."""
    if isinstance(number, Value):
        return number
    try:
        number = number.item() if hasattr(number, "item") else number
    except (ValueError, RuntimeError):  # a tensor of more than one element
        return None
    return Value(float(number)) if isinstance(number, int | float) and not isinstance(number, bool) else None


def _shown(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"{{{', '.join(f'{name}: {described(number)}' for name, number in found.items())}}}"
    return described(found)
