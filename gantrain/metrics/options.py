"""The options of the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from gantrain.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all metrics; the defaults are torch-fidelity's.

    Attributes:
        seed: the seed of the shuffle before the splits of the Inception score, and of the subsets of the kernel
            distance. Default 2020.
        splits: the number of splits of the Inception score. Default 10.
        subsets: the number of subsets of the kernel distance. Default 100.
        subset_size: the number of images in each subset. Default 1000.
        infinity: whether the Fréchet distance is also extrapolated to infinitely many samples. Default False.
        epsilon: the step of the perceptual path length, relative to the path between two latents. Default 1e-4.

    Raises:
        UserError: a number is out of range.
    """

    seed: int = 2020
    splits: int = 10
    subsets: int = 100
    subset_size: int = 1000
    infinity: bool = False
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        least = {"seed": 0, "splits": 1, "subsets": 1, "subset_size": 2}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise UserError(f"{key}: expected at least {bound}, got {getattr(self, key)}")
        if not 0 < self.epsilon <= 1:
            raise UserError(f"epsilon: expected a step above 0 and up to 1, got {self.epsilon:g}")
