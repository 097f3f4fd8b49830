"""The interface of an extractor: the network that gives metrics the features and logits of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Output(NamedTuple):
    """The features ``(n, d)`` and logits ``(n, classes)`` of a batch of images, float32."""

    features: Tensor
    logits: Tensor


class Extractor(ABC):
    """A fixed network that turns images into features and logits.

    Attributes:
        name: the name in messages and results.
        label: the label that the names of values carry, as in ``frechet_distance[label]``.
        published: the name in configs of a published network with its published weights; None for any other. A value
            carries no label if its metric is defined by this network.
        identity: a text that differs between extractors whose numbers may differ; it has the SHA-256 of the weights.
        weights: the SHA-256 of the weights.
        preprocessing: what is done to an image before the network sees it, in words that can be quoted.
        dimensions: d, the number of features.
        classes: the number of logits; 0 for a network of features alone.
        channels: the number of channels of the images that the extractor takes: 1 or 3.
        device: where the network is, and where images must be.
    """

    name: str
    label: str
    published: str | None = None
    identity: str
    weights: str
    preprocessing: str
    dimensions: int
    classes: int
    channels: Literal[1, 3]
    device: torch.device

    @abstractmethod
    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        """Refuse images of a shape that the network does not take.

        Args:
            shape: ``(channels, height, width)`` of an image.
            source: the name of the images in the message.

        Raises:
            UserError: the network does not take them.
        """

    @abstractmethod
    def __call__(self, images: Tensor) -> Output:
        """Features and logits of uint8 images ``(n, channels, height, width)``, without gradients."""

    @property
    @abstractmethod
    def path_distance(self) -> PathDistance:
        """The distance of two images in which perceptual path length is measured.

        Raises:
            UserError: the weights of the distance cannot be had.
        """


class PathDistance(ABC):
    """A squared perceptual distance between images.

    Attributes:
        name: the name of the distance in words that can be quoted.
        label: the label in the name ``perceptual_path_length[label]``.
    """

    name: str
    label: str

    @abstractmethod
    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        """Distances ``(n,)`` of pairs of images ``(n, channels, height, width)``, float32.

        The images have levels from 0 to 255 that are not rounded.
        """
