"""Conversion of images between the stored levels 0 … 255 and the values in [-1, 1] that networks see."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# So many values are scaled at once, which take four bytes each.
_CHUNK = 2**24


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


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Scale images by antialiased bicubic interpolation. The two sides are scaled alone, so that nothing is cut off.

    Args:
        images: ``(n, c, h, w)``, levels from 0 to 255, uint8 or float.
        height: the new height in pixels.
        width: the new width in pixels.

    Returns:
        ``(n, c, height, width)``: rounded uint8 for uint8, otherwise float32 that is not rounded.
    """
    chunks = images.split(max(1, _CHUNK // images[0].numel()))
    scaled = (interpolate(c.float(), (height, width), mode="bicubic", antialias=True).clamp_(0, 255) for c in chunks)
    return torch.cat([c.round_().to(torch.uint8) if images.dtype == torch.uint8 else c for c in scaled])
