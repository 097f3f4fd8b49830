"""The base of all data sets of images."""

from __future__ import annotations

from torch import Tensor

from gantrain.data.dataset import DataSet, Samples
from gantrain.data.pixels import decode
from gantrain.data.spec import DataSpec


class ImageSet(DataSet):
    """Images that are stored with values from 0 to 255 and seen by networks with values in [-1, 1].

    Args:
        samples: ``(n, channels, height, width)`` uint8, in memory or still in files.
        labels: ``(n,)`` int64, or None where there are no classes.
        classes: the number of classes; 0 without labels.
    """

    def __init__(self, samples: Samples, labels: Tensor | None, classes: int):
        super().__init__(samples, labels, DataSpec(tuple(samples.shape[1:]), classes))

    def decode(self, stored: Tensor) -> Tensor:
        """uint8 images to float32 images in [-1, 1]."""
        return decode(stored)
