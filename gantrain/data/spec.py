"""The shape of the data, which is all that models know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """What one sample looks like.

    Args:
        shape: of one sample: ``(channels, height, width)`` of an image, ``(features,)`` of a point, ``(length,)`` of a
            text, ``(2, length)`` of a pair of texts: token ids, and which of the two each token belongs to.
        classes: number of classes of the labels; 0 for data without labels, and for unconditional models.
        vocabulary: number of different tokens where a sample is a text of ``shape[-1]`` of them, int64; 0 for numbers.
        padding: the token that fills up shorter texts and is no part of them; None where there is none.
    """

    shape: tuple[int, ...]
    classes: int = 0
    vocabulary: int = 0
    padding: int | None = None

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
