"""Minibatch standard deviation, by which a discriminator sees how different the samples of a batch are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchStddev(nn.Module):
    """Appends a channel with the mean, over channels and positions, of the standard deviation in a group of samples.

    A group consists of ``group`` consecutive samples. Where the number of samples is no multiple of ``group``, it is
    cut into the largest equal groups that are smaller. The published code takes the samples of a group from all over
    the batch; with neighbours, a batch has the same groups if several processes share it.
    Source: Karras et al., Progressive growing of GANs, ICLR 2018, section 3.

    Args:
        group: the number of samples in a group.
    """

    def __init__(self, group: int):
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to ``(n, channels + 1, height, width)``."""
        n, _, height, width = x.shape
        size = next(size for size in range(min(self.group, n), 0, -1) if n % size == 0)
        groups = x.unflatten(0, (n // size, size))
        variance = (groups - groups.mean(dim=1, keepdim=True)).square().mean(dim=1)
        stddev = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat_interleave(size, output_size=n)
        return torch.cat([x, stddev.view(n, 1, 1, 1).expand(n, 1, height, width)], dim=1)
