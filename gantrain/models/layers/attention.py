"""Self-attention between the positions of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """``y = x + gamma W_v o`` with ``o_j = sum_i beta_ji W_h x_i``.

    The weights ``beta_ji`` are the softmax over the positions ``i`` of ``(W_f x_i) . (W_g x_j)``. ``W_f``, ``W_g`` and
    ``W_h`` map to an eighth of the channels, ``W_v`` maps back. ``gamma`` is initially 0, so that the layer is
    initially the identity. The layer is written as matrix products, since gradient penalties differentiate it twice.
    Source: Zhang et al., Self-attention generative adversarial networks, ICML 2019, eqs. 1-3. The published code
    departs from the paper: ``W_h`` maps to half of the channels, and max pooling halves the size after ``W_f`` and
    ``W_h``.

    Args:
        channels: the number of channels of the feature map.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 8)
        self.f, self.g, self.h = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(3))
        self.v = nn.Conv2d(inner, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps ``(n, channels, height, width)`` to feature maps of the same shape."""
        f, g, h = (layer(x).flatten(2) for layer in (self.f, self.g, self.h))
        beta = torch.softmax(f.transpose(1, 2) @ g, dim=1)
        return x + self.gamma * self.v((h @ beta).unflatten(2, x.shape[2:]))
