"""Images kept in memory."""

from __future__ import annotations

from torch import Tensor

from gantrain.data.images import decode
from gantrain.data.spec import DataSpec


class ImageSet:
    """Images in memory as they are stored, 0 to 255, which networks see in [-1, 1].

    Attributes:
        samples: ``(n, channels, height, width)`` uint8.
        labels: ``(n,)`` int64, or None where there are no classes.
        spec: shape and classes.
    """

    def __init__(self, samples: Tensor, labels: Tensor | None, classes: int):
        self.samples = samples
        self.labels = labels
        self.spec = DataSpec(tuple(samples.shape[1:]), classes)

    def decode(self, raw: Tensor) -> Tensor:
        """uint8 to float32 in [-1, 1]."""
        return decode(raw)
