"""Random windows of images, which are cut out of their files and scaled: random resized crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TRIES = 10


@dataclass(frozen=True)
class RandomWindows:
    """Windows of random area, shape and place.

    A window has a share of the image's area that is uniform in ``scale``, and a ratio of width to height whose
    logarithm is uniform in that of ``ratio``; all places are equally likely. Ten such windows are tried. If none fits
    into the image, it is the largest one around the centre whose ratio lies in the range.
    Source: Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6; the rules are those of
    torchvision.transforms.RandomResizedCrop.

    Args:
        scale: the smallest and the largest share of the area.
        ratio: the smallest and the largest ratio of width to height.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]

    NUMBERS = 2 * _TRIES + 2
    """How many random numbers a window takes."""

    def box(self, width: int, height: int, numbers: Sequence[float]) -> tuple[int, int, int, int]:
        """The left, upper, right and lower edge of a window in pixels.

        Args:
            width: the width of the image.
            height: the height of the image.
            numbers: ``NUMBERS`` numbers that are uniform in [0, 1).
        """
        low, high = map(math.log, self.ratio)
        for i in range(_TRIES):
            area = width * height * (self.scale[0] + numbers[2 * i] * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + numbers[2 * i + 1] * (high - low))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(numbers[-2] * (width - w + 1)), int(numbers[-1] * (height - h + 1))
                return left, top, left + w, top + h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h
