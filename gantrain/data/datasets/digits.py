"""The handwritten digits that come with scikit-learn: a data set that needs no download."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.splits import training_part

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeInt, PositiveInt


class Digits(ImageSet):
    """1797 grey images of the digits 0 to 9, of 8 x 8 pixels with 17 grey levels; other sizes by interpolation.

    Source: Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI repository, 1998.

    Args:
        size: the height and width in pixels; sizes other than 8 are made by bicubic interpolation.
        split: "all" samples or one part of them. "test" is every fifth sample, "validation" a fraction of the others,
            and "train" the samples that are left.
        validation: the fraction of the samples outside the test part that make up the validation part; the samples are
            the same in every run.
        label_noise: the probability that a label of the parts "all" and "train" is replaced by a random class;
            validation and test labels stay clean.
        noise_seed: the seed of the label noise.
        shift: the number of pixels by which the digits are moved to the right and down; black comes in.
        invert: whether black and white are exchanged.

    Raises:
        UserError: the part is empty.

    Attributes:
        samples: ``(n, 1, size, size)`` uint8.
        labels: ``(n,)`` int64, the digit.
        spec: the shape and the number of classes.
    """

    def __init__(
        self,
        size: PositiveInt = 8,
        split: Literal["all", "train", "validation", "test"] = "all",
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
        shift: NonNegativeInt = 0,
        invert: bool = False,
    ):
        rows = torch.from_numpy(_rows())
        images = rows[:, :64].float().div(16).view(-1, 1, 8, 8)
        digits = rows[:, 64].long()
        if split != "all":
            held_out = torch.arange(len(images)) % 5 == 4
            chosen = held_out if split == "test" else ~held_out
            images, digits = images[chosen], digits[chosen]
        if size != 8:
            images = interpolate(images, size=(size, size), mode="bicubic", antialias=size < 8)
        if shift:
            images = pad(images, (shift, -shift, shift, -shift))
        if invert:
            images = 1 - images
        part: tuple[Tensor, Tensor | None] = images.mul(255).round().clamp(0, 255).to(torch.uint8), digits
        if split != "test":
            fraction = 0.0 if split == "all" else validation
            part = training_part(*part, 10, split, fraction, label_noise, noise_seed)
        super().__init__(*part, classes=10)


def _rows() -> np.ndarray:
    """scikit-learn's file: ``(1797, 65)``, the 64 pixels of each digit from 0 to 16, row by row, and its label."""
    # Read as scikit-learn reads it, whose own function takes a second to import.
    file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    return np.loadtxt(str(file), delimiter=",")
