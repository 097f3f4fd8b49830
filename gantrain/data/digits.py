"""Handwritten digits that come with scikit-learn: a data set that needs no download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantrain.data.images import decode
from gantrain.data.spec import DataSpec

if TYPE_CHECKING:
    from gantrain.types import PositiveInt


class Digits:
    """1797 grey images of the digits 0 to 9, 8 x 8 pixels with 17 grey levels, or larger by interpolation.

    Source: Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI repository, 1998.

    Args:
        size: height and width in pixels; above 8 the images are enlarged by bicubic interpolation.
        split: "all", or one of two fixed parts: "test" is every fifth sample, "train" the others.

    Attributes:
        samples: ``(n, 1, size, size)`` uint8.
        labels: ``(n,)`` int64, the digit.
        spec: shape and classes.
    """

    def __init__(self, size: PositiveInt = 8, split: Literal["all", "train", "test"] = "all"):
        from sklearn.datasets import load_digits  # takes a second to import

        data = load_digits()
        images = torch.from_numpy(data.images).float().div(16).unsqueeze(1)
        labels = torch.from_numpy(data.target).long()
        if split != "all":
            held_out = torch.arange(len(images)) % 5 == 4
            chosen = held_out if split == "test" else ~held_out
            images, labels = images[chosen], labels[chosen]
        if size != 8:
            images = interpolate(images, size=(size, size), mode="bicubic", antialias=size < 8)
        self.samples = images.mul(255).round().clamp(0, 255).to(torch.uint8)
        self.labels = labels
        self.spec = DataSpec((1, size, size), classes=10)

    def decode(self, raw: Tensor) -> Tensor:
        """uint8 to float32 in [-1, 1]."""
        return decode(raw)
