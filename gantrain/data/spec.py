"""The shape of the data, which is all that models know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """What one sample looks like.

    Args:
        shape: of one sample: ``(channels, height, width)`` of an image, ``(features,)`` of a point.
        classes: number of classes of the labels; 0 for data without labels, and for unconditional models.
        vocabulary: number of different tokens where a sample is a text of ``shape[0]`` of them, int64; 0 for numbers.
    """

    shape: tuple[int, ...]
    classes: int = 0
    vocabulary: int = 0

    @property
    def image(self) -> bool:
        """Whether samples are images, with values in [-1, 1]."""
        return len(self.shape) == 3

    def zeros(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """``(n, *shape)``: samples of the right type for a try."""
        return torch.zeros(n, *self.shape, dtype=torch.int64 if self.vocabulary else torch.float32, device=device)

    def unconditional(self) -> DataSpec:
        """The same without classes: what the models of an unconditional game are built from."""
        return replace(self, classes=0)
