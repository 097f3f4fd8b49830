"""Images as they are stored, and as networks see them."""

from __future__ import annotations

from torch import Tensor

from gantrain.data.pixels import decode
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.spec import DataSpec


class ImageSet:
    """Images that are stored as 0 to 255, which networks see in [-1, 1].

    Attributes:
        samples: ``(n, channels, height, width)`` uint8, in memory or still in their files. Either way ``samples[rows]``
            and ``samples.split(n)`` are parts of them, and ``to(device)`` gives those as a tensor.
        labels: ``(n,)`` int64, or None where there are no classes.
        spec: shape and classes.
    """

    def __init__(self, samples: Tensor | FileSamples, labels: Tensor | None, classes: int):
        self.samples = samples
        self.labels = labels
        self.spec = DataSpec(tuple(samples.shape[1:]), classes)

    def decode(self, raw: Tensor) -> Tensor:
        """uint8 to float32 in [-1, 1]."""
        return decode(raw)
