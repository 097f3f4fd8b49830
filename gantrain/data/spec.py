"""The shape of the data, which is all that models know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DataSpec:
    """What one sample looks like.

    Args:
        shape: of one sample: ``(channels, height, width)`` of an image, ``(features,)`` of a point.
        classes: number of classes of the labels; 0 for data without labels, and for unconditional models.
    """

    shape: tuple[int, ...]
    classes: int = 0

    @property
    def image(self) -> bool:
        """Whether samples are images, with values in [-1, 1]."""
        return len(self.shape) == 3

    def unconditional(self) -> DataSpec:
        """The same without classes: what the models of an unconditional game are built from."""
        return replace(self, classes=0)
