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


def resize(images: Tensor, size: int) -> Tensor:
    """Scale uint8 images ``(n, c, h, w)`` to ``(n, c, size, size)`` by antialiased bicubic interpolation."""
    chunks = (interpolate(c.float(), (size, size), mode="bicubic", antialias=True) for c in images.split(1000))
    return torch.cat([c.round_().clamp_(0, 255).to(torch.uint8) for c in chunks])
