"""The features of all samples, for metrics that compare samples with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes


class Features:
    """The features of all samples, kept in float32 on the CPU: ``4 d`` bytes a sample.

    Args:
        samples: the number of samples that will be added.
        dimensions: d, the number of features of a sample.

    Attributes:
        values: ``(samples, d)``.
    """

    def __init__(self, samples: int, dimensions: int):
        self.values = torch.zeros(samples, dimensions)

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self.values[rows] = features.cpu()

    def merge(self, processes: Processes) -> None:
        # The rows of samples that other processes have are zero, so that the sum puts all rows together.
        self.values = processes.all_reduce_sum(self.values)
