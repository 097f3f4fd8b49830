"""Layers with an equalised learning rate: weights are drawn from N(0, 1), and scaled when they are used.

An optimizer with normalised steps, such as Adam, then changes the weights of all layers by the same share of their
size. Source: Karras et al., Progressive growing of GANs, ICLR 2018, section 4.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, linear

from gantrain.models.layers.resampling import Blur


class EqualisedLinear(nn.Module):
    """``s (W x / sqrt(before) + b)``, where ``W`` is initially drawn from ``N(0, 1 / s^2)``, and ``s b`` is ``bias``.

    Args:
        before: the number of input features.
        after: the number of output features.
        bias: the initial value of each entry of ``s b``.
        learning_rate: the multiplier ``s`` of the learning rate.
    """

    def __init__(self, before: int, after: int, bias: float = 0.0, learning_rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / learning_rate)
        self.bias = nn.Parameter(torch.full((after,), bias / learning_rate))
        self.gain = learning_rate / math.sqrt(before)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """``(n, before)`` to ``(n, after)``."""
        return linear(x, self.weight * self.gain, self.bias * self.learning_rate)


class EqualisedConv2d(nn.Module):
    """A convolution with the weight ``W / sqrt(fan_in)``, ``W ~ N(0, 1)``, and zeros around the map.

    Args:
        before: the number of input channels.
        after: the number of output channels.
        size: the size of the kernel, an odd number.
        bias: whether there is a bias, initially 0.
        halve: whether the map is smoothed by (1, 3, 3, 1) / 8 first, and its size halved.
    """

    def __init__(self, before: int, after: int, size: int, bias: bool = True, halve: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, size, size))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.gain = 1 / math.sqrt(before * size**2)
        self.padding = size // 2
        # Before a kernel of size 1 all but every second pixel can be left out.
        self.blur = Blur(self.padding + 1, stride=2 if size == 1 else 1) if halve else None
        self.stride = 2 if halve and size > 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        """``(n, before, height, width)`` to ``(n, after, height, width)``, or to half the height and width."""
        weight = (self.weight * self.gain).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.blur is None:
            return conv2d(x, weight, bias, padding=self.padding)
        return conv2d(self.blur(x), weight, bias, stride=self.stride)


def activated(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2, times ``gain sqrt 2``, so that the second moment stays; then a clamp.

    Args:
        x: any tensor.
        gain: a further factor.
        clamp: the largest absolute value of an output with ``gain`` 1; None for no limit.
    """
    x = leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def normalised(x: Tensor) -> Tensor:
    """The rows of ``x``, ``(n, features)``, divided by the root of their mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
