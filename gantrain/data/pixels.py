"""Conversion of images between the stored levels 0 … 255 and the values in [-1, 1] that networks see."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def decode(raw: Tensor) -> Tensor:
    """uint8 images to float32: 0 becomes -1 and 255 becomes 1, both exactly."""
    return raw.to(torch.float32).div_(127.5).sub_(1)


def encode(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8, clipped and rounded to the nearest level: the inverse of :func:`decode`.

    All images that are written or evaluated are encoded by this function.
    """
    return images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def opaque(levels: Tensor) -> Tensor:
    """The colours that images have over white: uint8 ``(n, 4, h, w)`` to ``(n, 3, h, w)``, rounded.

    Images of other numbers of channels are returned as they are.
    """
    if levels.shape[1] != 4:
        return levels
    colour, alpha = levels[:, :3].int(), levels[:, 3:].int()
    return ((colour * alpha + 255 * (255 - alpha)) / 255).round_().to(torch.uint8)


def opaque_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample after :func:`opaque`; samples that are no images are left as they are."""
    return (3, *shape[1:]) if len(shape) == 3 and shape[0] == 4 else shape


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images ``(n, c, h, w)`` to ``(n, c, size, size)`` by antialiased bicubic interpolation."""
    chunks = (interpolate(c.float(), (size, size), mode="bicubic", antialias=True) for c in images.split(1000))
    return torch.cat([c.round_().clamp_(0, 255).to(torch.uint8) for c in chunks])
