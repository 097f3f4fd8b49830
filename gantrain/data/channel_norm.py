"""Zero mean and unit standard deviation in each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """``(x - mean) / std`` in each channel.

    The two are buffers: they move with the network, and a checkpoint holds them.

    Args:
        mean: ``(channels,)``.
        std: ``(channels,)``, positive.
    """

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def of(cls, dataset: Any) -> ChannelNorm:
        """With the mean and standard deviation of a training set's own decoded samples, over samples and pixels.

        A channel that is constant is only shifted.

        Args:
            dataset: its ``samples`` and ``decode``.
        """
        count, total, squares = 0, 0.0, 0.0
        for chunk in dataset.samples.split(1000):
            values = dataset.decode(chunk.to("cpu")).double().transpose(0, 1).flatten(1)
            count += values.shape[1]
            total = total + values.sum(1)
            squares = squares + values.square().sum(1)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return cls(mean.float(), torch.where(std > 1e-6, std, 1.0).float())

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, ...)`` to the same shape."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)
