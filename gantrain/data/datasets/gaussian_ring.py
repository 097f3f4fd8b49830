"""Points in the plane around the corners of a regular polygon, on which mode collapse can be seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.utils.seeding import generator

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveInt


class GaussianRing(DataSet):
    """An equal mixture of isotropic Gaussians whose centres lie on a circle.

    Args:
        modes: the number of Gaussians.
        radius: the radius of the circle.
        std: the standard deviation of each Gaussian, in both coordinates.
        samples: the number of points; the numbers of points of two modes differ by at most one.
        seed: the seed of the points; the data depend on the arguments of the constructor alone.

    Attributes:
        samples: ``(n, 2)`` float32.
        labels: ``(n,)`` int64, the number of the mode.
        modes: the centres of the Gaussians, ``(modes, 2)`` float32.
        std: as given.
        spec: the shape, and one class for each mode.
    """

    def __init__(
        self,
        modes: PositiveInt = 8,
        radius: PositiveFloat = 1.0,
        std: NonNegativeFloat = 0.05,
        samples: PositiveInt = 8192,
        seed: int = 0,
    ):
        angle = torch.arange(modes) * (2 * math.pi / modes)
        self.modes = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        self.std = std
        labels = torch.arange(samples) % modes
        noise = torch.randn(samples, 2, generator=generator(seed, "gaussian_ring"))
        super().__init__(self.modes[labels] + std * noise, labels, DataSpec((2,), classes=modes))

    def covered(self, points: Tensor) -> Tensor:
        """The number of points within three standard deviations of each centre, ``(modes,)`` int64."""
        distance, nearest = torch.cdist(points, self.modes.to(points)).min(dim=1)
        return nearest[distance <= 3 * self.std].bincount(minlength=len(self.modes))
