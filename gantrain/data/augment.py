"""Random changes of training images, drawn for each sample and made for the whole batch at once.

An augmentation is called with images ``(n, c, h, w)`` and the batch that they come from, whose draws it uses: the same
batch is changed alike whenever it is seen, and its shards on several processes as it is as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantrain.data.batch import Batch

if TYPE_CHECKING:
    from gantrain.types import Float, Fraction, PositiveInt


class Crop:
    """A random window of the image's own size in the image with a margin around it.

    Source: He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2.

    Args:
        padding: width of the margin in pixels; each image moves by up to as much in both directions.
        fill: value of the margin; -1 is black.
    """

    def __init__(self, padding: PositiveInt = 4, fill: Float = -1.0):
        self.padding = padding
        self.fill = fill

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        n, channels, height, width = images.shape
        top = batch.integers("crop/top", 2 * self.padding + 1)
        left = batch.integers("crop/left", 2 * self.padding + 1)
        rows = _from(top, height)[:, None, :, None]
        columns = _from(left, width)[:, None, None, :]
        sample = torch.arange(n, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return pad(images, 4 * [self.padding], value=self.fill)[sample, channel, rows, columns]


class Flip:
    """A mirror image, left to right.

    Args:
        probability: of each sample to be mirrored.
    """

    def __init__(self, probability: Fraction = 0.5):
        self.probability = probability

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        chosen = batch.uniform("flip") < self.probability
        return torch.where(chosen[:, None, None, None], images.flip(3), images)


class Cutout:
    """A square around a random pixel is blanked; it may reach beyond the image.

    Source: DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017, section 3.

    Args:
        size: side of the square in pixels.
        probability: of each sample to be cut; SAMPa's published code takes 0.5.
        fill: value of the square; 0 is grey, about the mean colour.
    """

    def __init__(self, size: PositiveInt = 16, probability: Fraction = 1.0, fill: Float = 0.0):
        self.size = size
        self.probability = probability
        self.fill = fill

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        height, width = images.shape[2:]
        chosen = batch.uniform("cutout") < self.probability
        rows = self._inside(batch.integers("cutout/row", height), height)
        columns = self._inside(batch.integers("cutout/column", width), width)
        square = chosen[:, None, None] & rows[:, :, None] & columns[:, None, :]
        return images.masked_fill(square[:, None], self.fill)

    def _inside(self, centre: Tensor, length: int) -> Tensor:
        """``(n, length)``: which positions lie in the square, whose centre rounds up where its size is even."""
        position = torch.arange(length, device=centre.device)
        start = (centre - self.size // 2)[:, None]
        return (position >= start) & (position < start + self.size)


def _from(start: Tensor, length: int) -> Tensor:
    """``(n, length)``: consecutive numbers from each start."""
    return start[:, None] + torch.arange(length, device=start.device)
