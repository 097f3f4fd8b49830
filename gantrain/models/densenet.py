"""Densely connected networks, for images of 32 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import labelled_images

if TYPE_CHECKING:
    from gantrain.config.types import LayerCount, PositiveInt


class DenseNet(nn.Module):
    """DenseNet-BC, in whose dense blocks every layer sees the outputs of all layers before it.

    The default is DenseNet-121 with the stem of the CIFAR networks: a 3 x 3 convolution with stride 1 to ``2 growth``
    channels, and no pooling. Between the blocks a transition halves channels and size; batch norm, ReLU, global average
    pooling and a dense layer follow the last one.
    Source: Huang et al., Densely connected convolutional networks, CVPR 2017, section 3 and table 1. The paper takes
    He's initialisation; here it is torch's own, as in the published code of SAMPa (arXiv 2410.10683), whose network
    this equals.

    Args:
        spec: the description of the data.
        growth: the number of channels that each layer adds.
        blocks: the number of layers in each dense block.

    Raises:
        UserError: the data are not labelled images of at least 8 x 8 pixels.
    """

    def __init__(self, spec: DataSpec, growth: PositiveInt = 32, blocks: Sequence[LayerCount] = (6, 12, 24, 16)):
        super().__init__()
        # Every transition halves the size, which must stay at least 1.
        channels = labelled_images(spec, "densenet", least=max(8, 2 ** (len(blocks) - 1)))
        self.spec = spec
        width = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False)]
        for i, length in enumerate(blocks):
            if i:
                layers += [*_activated_convolution(width, width // 2, 1), nn.AvgPool2d(2)]
                width //= 2
            layers += [Layer(width + j * growth, growth) for j in range(length)]
            width += length * growth
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to logits ``(n, classes)``."""
        return self.head(self.layers(x).mean(dim=(2, 3)))


class Layer(nn.Module):
    """``[x, F(x)]``: a 1 x 1 convolution to ``4 growth`` channels, then a 3 x 3 one to ``growth``."""

    def __init__(self, before: int, growth: int):
        super().__init__()
        self.layers = nn.Sequential(
            *_activated_convolution(before, 4 * growth, 1), *_activated_convolution(4 * growth, growth, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


def _activated_convolution(before: int, after: int, kernel: int) -> list[nn.Module]:
    """Batch norm, ReLU, convolution."""
    return [nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)]
