"""The description of a sample, from which models are built."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """The shape and the kind of one sample.

    Args:
        shape: the shape of a sample: ``(channels, height, width)`` for an image, ``(features,)`` for a point,
            ``(length,)`` for a text, ``(2, length)`` for a pair of texts, which holds the token ids and, for each
            token, which of the two texts it belongs to.
        classes: the number of classes of the labels; 0 for data without labels and for unconditional models.
        vocabulary: the number of different tokens where samples are texts of int64 token ids; 0 where they are numbers.
        padding: the token with which shorter texts are filled up; None where no token is.
        numeric: whether labels are numbers that are predicted, as in a regression, and not classes. ``classes`` is then
            1, since a network has one output for them.
    """

    shape: tuple[int, ...]
    classes: int = 0
    vocabulary: int = 0
    padding: int | None = None
    numeric: bool = False

    @property
    def image(self) -> bool:
        """Whether samples are images, which have values in [-1, 1]."""
        return len(self.shape) == 3

    @property
    def empty(self) -> bool:
        """Whether samples hold no numbers, as those of a game without data do."""
        return 0 in self.shape

    def zeros(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """``n`` samples of zeros, ``(n, *shape)``, in the type of the data."""
        return torch.zeros(n, *self.shape, dtype=torch.int64 if self.vocabulary else torch.float32, device=device)

    def unconditional(self) -> DataSpec:
        """The same description without classes, from which the models of an unconditional game are built."""
        return replace(self, classes=0, numeric=False)
