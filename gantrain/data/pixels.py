"""Stored and decoded images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def decode(raw: Tensor) -> Tensor:
    """uint8 to float32: 0 … 255 to -1 … 1, both ends exactly."""
    return raw.to(torch.float32).div_(127.5).sub_(1)


def encode(images: Tensor) -> Tensor:
    """The inverse of :func:`decode`, rounded to the nearest level and clipped: [-1, 1] to uint8.

    Every picture that is written and every sample that is evaluated goes through it.
    """
    return images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def resized(images: Tensor, size: int) -> Tensor:
    """``(n, c, h, w)`` uint8 to ``(n, c, size, size)`` by bicubic interpolation, antialiased, rounded and clipped."""
    chunks = (interpolate(c.float(), (size, size), mode="bicubic", antialias=True) for c in images.split(1000))
    return torch.cat([c.round_().clamp_(0, 255).to(torch.uint8) for c in chunks])
