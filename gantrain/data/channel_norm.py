"""Normalisation of each channel to zero mean and unit standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrain.data.dataset import DataSet


class ChannelNorm(nn.Module):
    """``(x - mean) / std`` in each channel.

    Mean and standard deviation are buffers: they move with the network and are saved in checkpoints.

    Args:
        mean: ``(channels,)``.
        std: ``(channels,)``, positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def of(cls, dataset: DataSet) -> ChannelNorm:
        """The normalisation that the decoded samples of a training set need.

        Mean and standard deviation are taken over all samples and pixels. A constant channel is only shifted.
        """
        count, total, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
        for chunk in dataset.samples.split(1000):
            values = dataset.decode(chunk.to("cpu")).double().transpose(0, 1).flatten(1)
            count += values.shape[1]
            total = total + values.sum(1)
            squares = squares + values.square().sum(1)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return cls(mean.float(), torch.where(std > 1e-6, std, 1.0).float())

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``(n, channels, ...)`` to outputs of the same shape."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)
