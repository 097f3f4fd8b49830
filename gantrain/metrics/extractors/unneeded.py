"""The extractor of metrics that look at the images alone."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.metrics.extractors.base import Extractor, Output, PathDistance


class Unneeded(Extractor):
    """Takes the place of a network of features where no metric needs one, so that no weights are read.

    Args:
        device: where the images are.
    """

    name = "none"
    label = "none"
    identity = "none"
    weights = "none"
    preprocessing = "the metrics look at the images"
    dimensions = 0
    classes = 0
    channels = 3

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)

    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        """All shapes will do."""

    def __call__(self, images: Tensor) -> Output:
        raise TypeError("no metric needs features")

    @property
    def path_distance(self) -> PathDistance:
        raise TypeError("no metric needs distances")
