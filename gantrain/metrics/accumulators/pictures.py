"""All images themselves, for metrics that look at them."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes


class Pictures:
    """All images, kept as they are on the CPU: a byte for each of their values.

    Args:
        count: the number of images that will be added, at least 1. The first process adds the first.

    Attributes:
        values: ``(count, channels, height, width)`` uint8, once all processes have merged theirs.
    """

    values: Tensor

    def __init__(self, count: int):
        self._count = count
        self._parts: list[tuple[Tensor, Tensor]] = []

    def update(self, rows: Tensor, images: Tensor) -> None:
        """Add the images ``(n, channels, height, width)`` whose numbers are ``rows``."""
        self._parts.append((rows, images.cpu()))

    def merge(self, processes: Processes) -> None:
        """Put the images of all processes together."""
        shape = processes.broadcast_object(tuple(self._parts[0][1].shape[1:]) if self._parts else ())
        mine = torch.zeros(self._count, *shape, dtype=torch.uint8)
        for rows, images in self._parts:
            mine[rows] = images
        # The images that other processes have are zero, so that the sum puts all of them together.
        self.values, self._parts = processes.all_reduce_sum(mine), []
