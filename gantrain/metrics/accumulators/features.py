"""Features kept for the metrics that compare samples with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes


class Features:
    """All features, float32 on the CPU: ``4 d`` bytes a sample.

    Args:
        samples: how many there will be.
        dimensions: d.

    Attributes:
        values: ``(samples, d)``.
    """

    def __init__(self, samples: int, dimensions: int):
        self.values = torch.zeros(samples, dimensions)

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self.values[rows] = features.cpu()

    def merge(self, processes: Processes) -> None:
        # The rows of other processes are zero here.
        self.values = processes.all_reduce_sum(self.values)
