"""What a metric sees of images: features and logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Output(NamedTuple):
    """Of one batch: ``features`` ``(n, d)`` and ``logits`` ``(n, classes)``, float32."""

    features: Tensor
    logits: Tensor


class Extractor(ABC):
    """A fixed network that turns images into features and logits.

    Attributes:
        name: in messages and results.
        label: what the names of metrics carry, as in ``frechet_distance[label]``; None for the network that FID is
            defined by.
        identity: one string for everything that its numbers depend on; the SHA-256 of the weights is part of it.
        weights: SHA-256 of the weights.
        preprocessing: what is done to an image before the network sees it, in words that can be quoted.
        dimensions: d, the number of features.
        classes: the number of logits.
        channels: of the images that it takes: 1 or 3.
        device: where it is, and where images must be.
    """

    name: str
    label: str | None
    identity: str
    weights: str
    preprocessing: str
    dimensions: int
    classes: int
    channels: int
    device: torch.device

    @abstractmethod
    def check(self, shape: tuple[int, ...], source: str) -> None:
        """Whether images of ``(channels, height, width)`` can be taken.

        Args:
            source: what the message calls the images.

        Raises:
            UserError: they cannot.
        """

    @abstractmethod
    def __call__(self, images: Tensor) -> Output:
        """uint8 ``(n, channels, height, width)`` to features and logits, without gradients."""

    @property
    @abstractmethod
    def path_distance(self) -> PathDistance:
        """The distance of two images that perceptual path length is measured in.

        Raises:
            UserError: its weights cannot be had.
        """


class PathDistance(ABC):
    """A squared perceptual distance between images.

    Attributes:
        name: in words that can be quoted.
        label: what the name ``perceptual_path_length[label]`` carries.
    """

    name: str
    label: str

    @abstractmethod
    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """``(n,)``: of pairs of images ``(n, channels, height, width)``, float32 levels from 0 to 255, not rounded."""
