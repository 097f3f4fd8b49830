"""Spread and copies of samples, found by distances between thumbnails: cheap, and without a network of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 16


def thumbnails(samples: Tensor) -> Tensor:
    """``(n, d)`` float64 on the CPU: images averaged down to at most 16 by 16 pixels; other samples as they are."""
    samples = samples.detach().float()
    if samples.dim() == 4:
        height, width = samples.shape[2:]
        samples = adaptive_avg_pool2d(samples, (min(height, SIDE), min(width, SIDE)))
    return samples.flatten(1).cpu().double()


def mirrored(thumbs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Thumbnails of images with left and right exchanged.

    Args:
        thumbs: ``(n, d)``, the thumbnails.
        shape: the shape ``(channels, height, width)`` of the images.
    """
    height, width = (min(side, SIDE) for side in shape[1:])
    return thumbs.view(len(thumbs), shape[0], height, width).flip(-1).flatten(1)


def spread(points: Tensor, labels: Tensor | None = None) -> float:
    """The mean distance between two of the points, or between two of one class; NaN if there is no such pair.

    Args:
        points: ``(n, d)``.
        labels: ``(n,)``, the classes; None if there are none.
    """
    pairs = torch.ones(len(points), len(points), dtype=torch.bool).triu(1)
    if labels is not None:
        labels = labels.cpu()
        pairs &= labels[:, None] == labels
    return torch.cdist(points, points)[pairs].mean().item()


def copied(fakes: Tensor, real: Tensor, mirror: Tensor | None = None) -> float:
    """The share of the fakes that copy a real sample.

    A copy is at most half as far from its nearest real sample as that is from its nearest other real one, so that no
    other real sample is nearer to the copy. Real samples that are the same count as one. Among n fakes that are real
    samples themselves, drawn anew from data with d independent directions, about one in 2^d is so near by chance.

    Args:
        fakes: ``(n, d)``, float64.
        real: ``(m, d)``, float64.
        mirror: ``(n, d)``, the mirrored fakes, which count as well; None if there are none.

    Returns:
        The share; NaN if all real samples are the same.
    """
    distances, nearest = torch.cdist(fakes, real).min(dim=1)
    if mirror is not None:
        others, of_mirror = torch.cdist(mirror, real).min(dim=1)
        nearest = torch.where(others < distances, of_mirror, nearest)
        distances = torch.minimum(others, distances)
    apart = torch.cdist(real[nearest], real)
    scale = apart.max()
    if not scale > 0:
        return math.nan
    apart[apart <= 1e-6 * scale] = math.inf
    return (distances <= apart.amin(dim=1) / 2).double().mean().item()
