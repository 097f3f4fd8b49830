"""Self-attention between the positions of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d


class SelfAttention(nn.Module):
    """``y = x + gamma W_v o`` with ``o_j = sum_i beta_ji W_h x_i``.

    The weights ``beta_ji`` are the softmax over the positions ``i`` of ``(W_f x_i) . (W_g x_j)``. ``W_f`` and ``W_g``
    map to an eighth of the channels, ``W_h`` to ``values`` channels, and ``W_v`` maps back. ``gamma`` is initially 0,
    so that the layer is initially the identity. The layer is written as matrix products, since gradient penalties
    differentiate it twice.
    Source: Zhang et al., Self-attention generative adversarial networks, ICML 2019, eqs. 1-3.
    The published code departs from the paper: ``W_h`` maps to half of the channels, and max pooling halves the size
    after ``W_f`` and ``W_h``.

    Args:
        channels: the number of channels of the feature map.
        values: the number of channels of the values ``W_h x_i``; by default an eighth of the channels.
        pooled: whether the positions ``i`` are squares of 2 x 2, of which ``W_f x_i`` and ``W_h x_i`` are the maxima,
            as in BigGAN and in SAGAN's published code. The height and the width must then be even.
    """

    def __init__(self, channels: int, values: int | None = None, pooled: bool = False):
        super().__init__()
        inner = max(1, channels // 8)
        values = values or inner
        self.pooled = pooled
        self.f, self.g, self.h = (nn.Conv2d(channels, n, 1, bias=False) for n in (inner, inner, values))
        self.v = nn.Conv2d(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(n, channels, height, width)`` to feature maps of the same shape."""
        f, g, h = self.f(x), self.g(x), self.h(x)
        if self.pooled:
            f, h = max_pool2d(f, 2), max_pool2d(h, 2)
        f, g, h = f.flatten(2), g.flatten(2), h.flatten(2)
        beta = torch.softmax(f.transpose(1, 2) @ g, dim=1)
        return x + self.gamma * self.v((h @ beta).unflatten(2, x.shape[2:]))
