"""DiffAugment, the augmentation for GANs with few images."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.data.augment import Augmentation, Color, blanked, moved, require_images
from gantrain.data.batch import Batch


class DiffAugment(Augmentation):
    """Changes of colour, translation and cutout of each sample, in this order.

    ``color`` is the augmentation of this name with its defaults. ``translation`` moves an image by up to an eighth of
    its height and of its width, and fills what comes in with 0. ``cutout`` blanks a rectangle of half the height and
    width with 0, centred anywhere in the image, its edges included. Fractions are rounded to the nearest pixel, halves
    up. The image is 0 where it is grey, midway between black and white.

    Source: Zhao et al., Differentiable augmentation for data-efficient GAN training, NeurIPS 2020, and its code, to
    which it is equal for images of every size.

    Args:
        color: whether colours are changed.
        translation: whether images are moved.
        cutout: whether a rectangle is blanked.
    """

    independent_samples = True

    def __init__(self, color: bool = True, translation: bool = True, cutout: bool = True):
        self.color = color
        self.translation = translation
        self.cutout = cutout
        self._color = Color()

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        height, width = require_images(images, "diffaugment")[2:]
        if self.color:
            images = self._color(images, batch)
        if self.translation:
            images = moved(images, batch, (_share(height, 0.125), _share(width, 0.125)), fill=0.0)
        if self.cutout:
            everyone = torch.ones(len(images), dtype=torch.bool, device=images.device)
            size = _share(height, 0.5), _share(width, 0.5)
            images = blanked(images, batch, everyone, size, fill=0.0, symmetric=True)
        return images


def _share(length: int, ratio: float) -> int:
    return int(length * ratio + 0.5)
