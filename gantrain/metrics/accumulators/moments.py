"""Mean and covariance of features in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes


class Moments:
    """The number, mean and scatter ``Σ (x - mean)(x - mean)ᵀ`` of features, in double precision.

    Batches and processes are merged by the update of Chan, Golub and LeVeque (Updating formulae and a pairwise
    algorithm for computing sample variances, 1979), whose error does not grow with the mean. They take the memory of
    ``d²`` numbers, however many samples there are.

    Args:
        dimensions: d, the number of features of a sample.
        device: where the sums are kept.

    Attributes:
        count: scalar tensor.
        mean: ``(d,)``.
        scatter: ``(d, d)``.
    """

    def __init__(self, dimensions: int, device: torch.device | str = "cpu"):
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.mean = torch.zeros(dimensions, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, count: Tensor, mean: Tensor, scatter: Tensor) -> Moments:
        """Moments that are known already."""
        moments = cls.__new__(cls)
        moments.count, moments.mean, moments.scatter = count, mean, scatter
        return moments

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self.add_features(features)

    def add_features(self, features: Tensor) -> None:
        """Add the features ``(n, d)`` of n samples; n may be 0."""
        if not len(features):
            return
        features = features.to(self.mean)
        mean = features.mean(0)
        centred = features - mean
        count = self.count + len(features)
        shift = mean - self.mean
        self.scatter.addmm_(centred.T, centred)
        self.scatter.addr_(shift, shift * (self.count * len(features) / count))
        self.mean += shift * (len(features) / count)
        self.count = count

    def merge(self, processes: Processes) -> None:
        """Replace the moments of this process by those of the samples of all processes."""
        count = processes.all_reduce_sum(self.count)
        mean = processes.all_reduce_sum(self.count * self.mean) / count
        shift = self.mean - mean
        self.scatter = processes.all_reduce_sum(self.scatter + self.count * torch.outer(shift, shift))
        self.count, self.mean = count, mean

    def joined(self, other: Moments) -> Moments:
        """The moments of the samples of both together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments.of(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance, ``(d, d)``."""
        return self.scatter / (self.count - 1)


class MomentsByPart:
    """The moments of random parts of the samples, for the extrapolation of a distance in the number of samples.

    Args:
        part: ``(samples,)`` int64, the part of each sample.
        parts: the number of parts.
        dimensions: the number of features of a sample.
        device: where the sums are kept.
    """

    def __init__(self, part: Tensor, parts: int, dimensions: int, device: torch.device | str = "cpu"):
        self._part = part
        self.parts = [Moments(dimensions, device) for _ in range(parts)]

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        if len(self.parts) == 1:
            return self.parts[0].add_features(features)
        part = self._part[rows].to(features.device)
        for i, moments in enumerate(self.parts):
            moments.add_features(features[part == i])

    def merge(self, processes: Processes) -> None:
        for moments in self.parts:
            moments.merge(processes)

    @property
    def whole(self) -> Moments:
        """The moments of all samples."""
        whole = self.parts[0]
        for moments in self.parts[1:]:
            whole = whole.joined(moments)
        return whole
