"""Affine maps of images with little aliasing, differentiable to any order in the images.

Source: Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, appendix B.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

# The low-pass filter of the wavelet sym6 (Daubechies, Ten lectures on wavelets, 1992, table 8.3).
_SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
_TAPS = len(_SYM6)
_MARGIN = _TAPS // 4


def translation(x: Tensor, y: Tensor) -> Tensor:
    """``(n, 3, 3)``: moves by ``x`` to the right and ``y`` down, each ``(n,)``."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([one, zero, x], [zero, one, y], [zero, zero, one])


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """``(n, 3, 3)``: scales the width by ``x`` and the height by ``y``, each ``(n,)``."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _matrix([x, zero, zero], [zero, y, zero], [zero, zero, one])


def rotation(angle: Tensor) -> Tensor:
    """``(n, 3, 3)``: turns by ``(n,)`` radians, from the axis to the right to that which points down."""
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _matrix([cos, -sin, zero], [sin, cos, zero], [zero, zero, one])


def warped(images: Tensor, inverse: Tensor) -> Tensor:
    """Images under affine maps, resampled at twice the resolution between low-pass filters, and mirrored at borders.

    Args:
        images: ``(n, c, h, w)``.
        inverse: ``(n, 3, 3)``, for each image the map from places in the new image to places in the old one. The origin
            lies in the middle, and lengths are in pixels.
    """
    height, width = images.shape[2:]
    left, right, above, below = _margins(inverse, height, width)
    images = _upsampled(_mirrored(_mirrored(images, left, right, dim=3), above, below, dim=2))
    x, y = torch.tensor((left - right) / 2.0), torch.tensor((above - below) / 2.0)
    inverse = translation(x, y).to(inverse) @ inverse
    # Lengths are now halves of pixels, and the old middle lies half of one further.
    double, half = torch.tensor(2.0), torch.tensor(0.5)
    inverse = scaling(double, double).to(inverse) @ inverse @ scaling(half, half).to(inverse)
    inverse = translation(-half, -half).to(inverse) @ inverse @ translation(half, half).to(inverse)
    rows, columns = 2 * (height + 2 * _MARGIN), 2 * (width + 2 * _MARGIN)
    # affine_grid measures lengths in halves of the image.
    to_old = scaling(torch.tensor(2.0 / images.shape[3]), torch.tensor(2.0 / images.shape[2])).to(inverse)
    to_new = scaling(torch.tensor(columns / 2.0), torch.tensor(rows / 2.0)).to(inverse)
    theta = (to_old @ inverse @ to_new)[:, :2]
    grid = affine_grid(theta, [*images.shape[:2], rows, columns], align_corners=False)
    images = _Sampled.apply(images, grid)
    return _downsampled(images)


def _matrix(*rows: list[Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _margins(inverse: Tensor, height: int, width: int) -> list[int]:
    """How far the maps reach beyond the images: to the left and right, above and below."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]], device=inverse.device).T
    reached = inverse @ corners
    margins = []
    for axis, middle, size in ((0, x, width), (1, y, height)):
        for sign in (-1, 1):
            beyond = (sign * reached[:, axis]).max() + 2 * _MARGIN - middle
            margins.append(beyond.clamp(0, size - 1).ceil())
    return [int(margin) for margin in torch.stack(margins).tolist()]


@lru_cache(maxsize=4)
def _filter(device: torch.device) -> Tensor:
    taps = torch.tensor(_SYM6, dtype=torch.float64)
    return (taps / taps.sum()).float().to(device)


def _filtered(images: Tensor, taps: Tensor, stride: int) -> Tensor:
    """Correlation with the taps along both axes."""
    channels = images.shape[1]
    taps = taps.to(images.dtype).expand(channels, 1, 1, -1)
    images = conv2d(images, taps, stride=(1, stride), groups=channels)
    return conv2d(images, taps.transpose(2, 3), stride=(stride, 1), groups=channels)


def _mirrored(images: Tensor, before: int, after: int, dim: int) -> Tensor:
    """Images with mirrored margins along an axis; the derivative of torch's own padding has no order on a GPU."""
    size = images.shape[dim]
    start = images.narrow(dim, 1, before).flip(dim)
    end = images.narrow(dim, size - 1 - after, after).flip(dim)
    return torch.cat([start, images, end], dim)


def _upsampled(images: Tensor) -> Tensor:
    n, channels, height, width = images.shape
    spread = torch.stack([images, torch.zeros_like(images)], dim=-1).view(n, channels, height, 2 * width)
    spread = torch.stack([spread, torch.zeros_like(spread)], dim=-2).view(n, channels, 2 * height, 2 * width)
    before, after = (_TAPS + 1) // 2, (_TAPS - 2) // 2
    return _filtered(pad(spread, (before, after, before, after)), 2 * _filter(images.device).flip(0), 1)


def _downsampled(images: Tensor) -> Tensor:
    cut = 2 * _MARGIN
    before, after = (_TAPS - 1) // 2 - cut, (_TAPS - 2) // 2 - cut
    return _filtered(pad(images, (before, after, before, after)), _filter(images.device), 2)


class _Sampled(torch.autograd.Function):
    """Bilinear samples of images, which torch differentiates once only. They are linear in the images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = images.shape
        return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(slopes[0], grid, ctx.size), None


class _Spread(torch.autograd.Function):
    """The transpose of :class:`_Sampled`."""

    @staticmethod
    def forward(ctx: Any, slopes: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        if slopes.is_cuda and torch.are_deterministic_algorithms_enabled():
            return spread_in_order(slopes, grid, size)
        images = slopes.new_zeros(()).expand(size)  # their values do not matter
        found, _ = torch.ops.aten.grid_sampler_2d_backward(slopes, images, grid, 0, 0, False, (True, False))
        return found

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sampled.apply(slopes[0], grid), None, None


def spread_in_order(slopes: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
    """The transpose of bilinear sampling, of which torch's own kernel on a GPU adds up in another order each time.

    Args:
        slopes: ``(n, c, rows, columns)``, what is spread.
        grid: ``(n, rows, columns, 2)``, where it was sampled, as for ``grid_sample`` without aligned corners.
        size: ``(n, c, h, w)``, that of the images.

    Returns:
        Images of this size.
    """
    n, channels, height, width = size
    x, y = ((grid + 1) * torch.tensor((width, height), device=grid.device) - 1).div(2).unbind(-1)
    image = torch.arange(n, device=grid.device).view(n, 1, 1)
    values = slopes.permute(0, 2, 3, 1)
    found = slopes.new_zeros(n * height * width, channels)
    for right, below in itertools.product((0, 1), repeat=2):
        column, row = x.floor() + right, y.floor() + below
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
        place = (image * height + row.clamp(0, height - 1)) * width + column.clamp(0, width - 1)
        found.index_add_(0, place.long().flatten(), (values * share[..., None]).flatten(0, 2).to(found.dtype))
    return found.view(n, height, width, channels).permute(0, 3, 1, 2).contiguous()
