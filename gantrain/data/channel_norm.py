"""Normalisation of each channel to zero mean and unit standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrain.data.dataset import DataSet
from gantrain.utils.shared_work import shared_out

# Number of samples that are read at once.
_CHUNK = 1000


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
        Processes that share work read a part of the samples each, and get the same bits as one process alone.
        """
        samples = dataset.samples

        def moments(number: int) -> tuple[int, Tensor, Tensor]:
            """The number of values in a chunk, and the sums of these and of their squares."""
            rows = torch.arange(number * _CHUNK, min((number + 1) * _CHUNK, len(samples)))
            chunk = samples[rows].to("cpu")
            values = dataset.decode(chunk).double().transpose(0, 1).flatten(1)
            return values.shape[1], values.sum(1), values.square().sum(1)

        count, total, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
        for values, sums, sums_of_squares in shared_out(-(-len(samples) // _CHUNK), moments):
            count, total, squares = count + values, total + sums, squares + sums_of_squares
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        return cls(mean.float(), torch.where(std > 1e-6, std, 1.0).float())

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``(n, channels, ...)`` to outputs of the same shape."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return (x - self.mean.view(shape)) / self.std.view(shape)
