"""Random changes of training images, drawn for each sample and applied to the whole batch at once.

An augmentation is called with images ``(n, c, h, w)`` and with the batch from which they come, and uses random numbers
of that batch. It therefore changes a batch in the same way every time, and does not depend on the number of processes
that share the batch. All augmentations are differentiable in the images, to any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantrain.data.batch import Batch
from gantrain.errors import UserError
from gantrain.utils.stateful import Stateful

if TYPE_CHECKING:
    from gantrain.config.types import Float, Fraction, NonNegativeFloat, PositiveInt


class Augmentation(Stateful, ABC):
    """A random change of samples, drawn from the batch that they come from.

    An augmentation of your own defines ``__call__``; a config names it in the list ``game.augmentations: [{target:
    "my_augmentations:Mine", …}]``, and the arguments of its constructor are its keys. In a GAN it is called for real
    samples, fake samples and penalties, each with a batch that has other random numbers.

    Attributes:
        independent_samples: whether a changed sample depends on this sample alone. One pass backwards may then serve
            both players of a GAN. Default false, also in a class that is derived from one that says true.
    """

    independent_samples = False

    @abstractmethod
    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        """The changed samples.

        Args:
            images: ``(n, c, h, w)`` in [-1, 1]; ``(n, *shape)`` for data that are no images.
            batch: the batch from which the images come. Random numbers are its: ``batch.normal(name, *shape)``,
                ``uniform`` and ``integers`` are ``(n, *shape)``. ``batch.step`` is the training step, or None where
                the samples belong to no step.

        Returns:
            A tensor of the same shape, type and device, differentiable in the images.
        """

    def observe(self, logits: Tensor, batch: Batch) -> None:  # noqa: B027 - most augmentations learn nothing
        """Learn how the discriminator of a GAN rates the real samples that this and other augmentations have changed.

        It is called in every evaluation of the discriminator's objective; a part that keeps a state takes one of them
        in each training step, by :class:`gantrain.data.StepMeans`.

        Args:
            logits: ``(n,)``, without a graph.
            batch: the batch of the real samples.
        """


class Crop(Augmentation):
    """A random window of the image's own size in the image with a margin around it.

    Source: He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2.

    Args:
        padding: the width of the margin in pixels; each image moves by at most this in both directions.
        fill: the value of the margin; -1 is black.
    """

    independent_samples = True

    def __init__(self, padding: PositiveInt = 4, fill: Float = -1.0):
        self.padding = padding
        self.fill = fill

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        require_images(images, "crop")
        return moved(images, batch, (self.padding, self.padding), self.fill)


class Flip(Augmentation):
    """Exchange of left and right.

    Args:
        probability: the probability that a sample is mirrored.
    """

    independent_samples = True

    def __init__(self, probability: Fraction = 0.5):
        self.probability = probability

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        require_images(images, "flip")
        chosen = batch.uniform("flip") < self.probability
        return torch.where(chosen[:, None, None, None], images.flip(3), images)


class Cutout(Augmentation):
    """Blanking of a square around a random pixel; the square may reach beyond the image.

    Source: DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017, section 3.

    Args:
        size: the side of the square in pixels.
        probability: the probability that a sample is cut; SAMPa's published code takes 0.5.
        fill: the value of the square; 0 is grey, about the mean colour.
        symmetric: where an even square, in whose middle there is no pixel, is centred. false (the default): on a pixel,
            rounded down to its upper left corner, so that the square reaches further beyond the upper and left edge.
            true: on any corner of a pixel, those on all edges included, as in the code of DiffAugment.
    """

    independent_samples = True

    def __init__(self, size: PositiveInt = 16, probability: Fraction = 1.0, fill: Float = 0.0, symmetric: bool = False):
        self.size = size
        self.probability = probability
        self.fill = fill
        self.symmetric = symmetric

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        require_images(images, "cutout")
        chosen = batch.uniform("cutout") < self.probability
        return blanked(images, batch, chosen, (self.size, self.size), self.fill, self.symmetric)


class Color(Augmentation):
    """Random brightness, saturation and contrast of each sample, applied in this order.

    Brightness adds ``b`` to all values. Saturation multiplies the difference of each colour from its pixel's mean by
    ``s``, and contrast the difference of each value from its image's mean by ``c``. The numbers ``b``, ``s - 1`` and
    ``c - 1`` are uniform and symmetric around 0. Values may leave [-1, 1]. Alpha stays as it is.
    Source: Zhao et al., Differentiable augmentation for data-efficient GAN training, NeurIPS 2020, and its code.

    Args:
        brightness: the largest b, where the range from black to white is 2.
        saturation: the largest s - 1.
        contrast: the largest c - 1.
    """

    independent_samples = True

    def __init__(
        self, brightness: NonNegativeFloat = 0.5, saturation: NonNegativeFloat = 1.0, contrast: NonNegativeFloat = 0.5
    ):
        self.brightness = brightness
        self.saturation = saturation
        self.contrast = contrast

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        require_images(images, "color")
        if images.shape[1] == 4:  # alpha is no colour
            return torch.cat([self(images[:, :3], batch), images[:, 3:]], dim=1)
        images = images + self._within("color/brightness", self.brightness, images, batch)
        saturation = 1 + self._within("color/saturation", self.saturation, images, batch)
        images = torch.lerp(images.mean(dim=1, keepdim=True), images, saturation)
        contrast = 1 + self._within("color/contrast", self.contrast, images, batch)
        return torch.lerp(images.mean(dim=(1, 2, 3), keepdim=True), images, contrast)

    @staticmethod
    def _within(stream: str, most: float, images: Tensor, batch: Batch) -> Tensor:
        """Random numbers ``(n, 1, 1, 1)`` uniform between -most and most."""
        return ((2 * batch.uniform(stream, 1, 1, 1) - 1) * most).to(images.dtype)


def require_images(images: Tensor, name: str) -> torch.Size:
    """The shape of samples, which must be images.

    Args:
        images: the samples.
        name: the name of the augmentation.

    Raises:
        UserError: they are no images.
    """
    if images.dim() != 4:
        raise UserError(
            f"augmentation {name}: expected images, got samples of shape {tuple(images.shape[1:])}; leave it away"
        )
    return images.shape


def moved(images: Tensor, batch: Batch, most: tuple[int, int], fill: float) -> Tensor:
    """Images ``(n, c, h, w)``, each moved by a random number of pixels in both directions.

    Args:
        images: the images.
        batch: the batch from which the numbers come.
        most: the largest move, up or down and left or right; all moves are equally likely.
        fill: the value of what comes in.
    """
    n, channels, height, width = images.shape
    vertical, horizontal = most
    top = batch.integers("crop/top", 2 * vertical + 1)
    left = batch.integers("crop/left", 2 * horizontal + 1)
    rows = _from(top, height)[:, None, :, None]
    columns = _from(left, width)[:, None, None, :]
    sample = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return pad(images, [horizontal, horizontal, vertical, vertical], value=fill)[sample, channel, rows, columns]


def blanked(
    images: Tensor, batch: Batch, chosen: Tensor, size: tuple[int, int], fill: float, symmetric: bool
) -> Tensor:
    """Images ``(n, c, h, w)`` with a rectangle at a random place in each that is chosen.

    Args:
        images: the images.
        batch: the batch from which the places come.
        chosen: ``(n,)``, whether an image gets a rectangle.
        size: the height and the width of the rectangles.
        fill: their value.
        symmetric: as in :class:`Cutout`, for each direction by itself.
    """
    # A line of n pixels has n + 1 corners.
    places = [
        _inside(batch.integers(f"cutout/{name}", length + (symmetric and side % 2 == 0)), side, length)
        for name, side, length in zip(("row", "column"), size, images.shape[2:], strict=True)
    ]
    rectangle = chosen[:, None, None] & places[0][:, :, None] & places[1][:, None, :]
    return images.masked_fill(rectangle[:, None], fill)


def _inside(centre: Tensor, side: int, length: int) -> Tensor:
    """Whether each position lies within the side, ``(n, length)``; corner k is the upper or left one of pixel k."""
    position = torch.arange(length, device=centre.device)
    start = (centre - side // 2)[:, None]
    return (position >= start) & (position < start + side)


def _from(start: Tensor, length: int) -> Tensor:
    """Consecutive numbers from each start, ``(n, length)``."""
    return start[:, None] + torch.arange(length, device=start.device)
