"""Mean and covariance of features in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes


class Moments:
    """Number, mean and scatter ``Σ (x - mean)(x - mean)ᵀ`` of features, in double precision.

    Batches and processes are merged by the update of Chan, Golub and LeVeque (Updating formulae and a pairwise
    algorithm for computing sample variances, 1979), whose error does not grow with the mean. Memory is ``d²`` numbers
    however many samples there are.

    Args:
        dimensions: d.
        device: where the sums are kept.

    Attributes:
        count: scalar tensor.
        mean: ``(d,)``.
        scatter: ``(d, d)``.
    """

    def __init__(self, dimensions: int, device: torch.device | str = "cpu"):
        options = {"dtype": torch.float64, "device": device}
        self.count = torch.zeros((), **options)
        self.mean = torch.zeros(dimensions, **options)
        self.scatter = torch.zeros(dimensions, dimensions, **options)

    @classmethod
    def of(cls, count: Tensor, mean: Tensor, scatter: Tensor) -> Moments:
        """Those that are known already."""
        moments = cls.__new__(cls)
        moments.count, moments.mean, moments.scatter = count, mean, scatter
        return moments

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self.take_in(features)

    def take_in(self, features: Tensor) -> None:
        """``(n, d)``, n may be 0."""
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
        """Become the moments of what all processes have taken in."""
        count = processes.all_reduce_sum(self.count)
        mean = processes.all_reduce_sum(self.count * self.mean) / count
        shift = self.mean - mean
        self.scatter = processes.all_reduce_sum(self.scatter + self.count * torch.outer(shift, shift))
        self.count, self.mean = count, mean

    def joined(self, other: Moments) -> Moments:
        """The moments of both together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments.of(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Tensor:
        """``(d, d)``, unbiased."""
        return self.scatter / (self.count - 1)


class MomentsByPart:
    """Moments of the random parts that samples are dealt into, for the extrapolation of a distance in their number.

    Args:
        part: ``(samples,)`` int64: the part of each sample.
        parts: how many.
        dimensions: of the features.
        device: where the sums are kept.
    """

    def __init__(self, part: Tensor, parts: int, dimensions: int, device: torch.device | str = "cpu"):
        self._part = part
        self.parts = [Moments(dimensions, device) for _ in range(parts)]

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        if len(self.parts) == 1:
            return self.parts[0].take_in(features)
        of = self._part[rows].to(features.device)
        for i, moments in enumerate(self.parts):
            moments.take_in(features[of == i])

    def merge(self, processes: Processes) -> None:
        for moments in self.parts:
            moments.merge(processes)

    @property
    def whole(self) -> Moments:
        whole = self.parts[0]
        for moments in self.parts[1:]:
            whole = whole.joined(moments)
        return whole
