"""Resampling of feature maps and images with the filter (1, 3, 3, 1), with zeros beyond the edge.

The filter has an even length, so that doubling and halving the size keep the map centred.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


class Blur(nn.Module):
    """The convolution of each channel with (1, 3, 3, 1) / 8 in both directions.

    Args:
        padding: the number of zeros on each side; with stride 1 the size grows by ``2 padding - 3``.
        gain: the sum of the filter.
        stride: 2 halves the size, and 1 does not.
        saved: whether the filter belongs to the state, so that a checkpoint of a network with another one is refused.
    """

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0, stride: int = 1, saved: bool = False):
        super().__init__()
        self.padding = padding
        self.stride = stride
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(line, line) * (gain / 64), persistent=saved)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self._kernels(x), stride=self.stride, padding=self.padding, groups=x.shape[1])

    def _kernels(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, 4, 4)


class Upsample(Blur):
    """Doubles the size: zeros are inserted behind each pixel, and the map is smoothed with a filter of the sum 4.

    Args:
        saved: as in :class:`Blur`.
    """

    def __init__(self, saved: bool = False) -> None:
        super().__init__(padding=1, gain=4.0, saved=saved)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to ``(n, channels, 2 height, 2 width)``."""
        return conv_transpose2d(x, self._kernels(x), stride=2, padding=self.padding, groups=x.shape[1])
