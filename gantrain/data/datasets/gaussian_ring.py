"""Points in the plane around the corners of a regular polygon: the classical picture of mode collapse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.data.spec import DataSpec
from gantrain.utils.seeding import generator

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveInt


class GaussianRing:
    """An equal mixture of isotropic Gaussians whose centres lie on a circle.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        std: standard deviation of each Gaussian, in both coordinates.
        samples: number of points; the modes' counts differ by at most one.
        seed: of the points; the data are a function of the arguments alone.

    Attributes:
        samples: ``(n, 2)`` float32.
        labels: ``(n,)`` int64, the mode.
        modes: ``(modes, 2)`` float32, the centres.
        std: as given.
        spec: shape and classes.
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
        self.labels = torch.arange(samples) % modes
        noise = torch.randn(samples, 2, generator=generator(seed, "gaussian_ring"))
        self.samples = self.modes[self.labels] + std * noise
        self.spec = DataSpec((2,), classes=modes)

    def decode(self, raw: Tensor) -> Tensor:
        """Points are used as they are stored."""
        return raw

    def covered(self, points: Tensor) -> Tensor:
        """``(modes,)``: how many of the points lie within three standard deviations of each centre."""
        distance, nearest = torch.cdist(points, self.modes.to(points)).min(dim=1)
        return nearest[distance <= 3 * self.std].bincount(minlength=len(self.modes))
