"""What extractors of published networks have in common: weights that are checked, labels, grey images."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from importlib.metadata import version

import torch
from torch import Tensor, nn

from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Extractor, Output, PathDistance
from gantrain.metrics.extractors.lpips import LPIPS
from gantrain.metrics.extractors.weights import Weights, sha256


class PublishedNetwork(Extractor):
    """A network of torch-fidelity's with published weights. Grey images are repeated to three channels.

    Weights other than the published ones make other metrics: they carry the network's name and the beginning of the
    weights' SHA-256 in the names of their values.

    Args:
        published: the network's name in configs.
        title: the network's name in messages and results.
        file: the published file of the weights.
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits; without it only
            the published weights are used.
        device: where the network is.

    Raises:
        UserError: the weights cannot be had, are damaged, or are of another network.
    """

    channels = 3
    # torch-fidelity's name of the network.
    registered: str

    def __init__(
        self,
        published: str,
        title: str,
        file: Weights,
        weights: str | None = None,
        digest: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        content = file.read(weights, digest)
        self.weights = sha256(content)
        genuine = self.weights.startswith(file.digest)
        self.published = published if genuine else None
        self.label = published if genuine else f"{published}-{self.weights[:8]}"
        self.name = title if genuine else f"{title} with the weights {self.weights[:8]}"
        self.device = torch.device(device)
        self.identity = (
            f"{self.registered} {self.weights} torch-fidelity {version('torch-fidelity')} on {self.device.type}"
        )
        with torch.random.fork_rng(devices=[]):  # constructors draw random weights before they load the file
            self._network = self._loaded(content, str(weights or file.cached)).to(self.device)

    @abstractmethod
    def _loaded(self, content: bytes, where: str) -> nn.Module:
        """The network with the weights of a file.

        Args:
            content: the bytes of the file.
            where: the name of the file in messages.

        Raises:
            UserError: the weights are of another network.
        """

    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        if shape[0] not in (1, 3):
            raise UserError(f"{source}: images of {shape[0]} channels, and {self.name} takes grey ones and RGB")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        return self._outputs(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images)

    @abstractmethod
    def _outputs(self, rgb: Tensor) -> Output:
        """Features and logits of uint8 images ``(n, 3, height, width)``."""

    @cached_property
    def path_distance(self) -> PathDistance:
        return LPIPS(self.device)


class FeatureNetwork(PublishedNetwork):
    """A published network that gives features and no classes; see :class:`PublishedNetwork` for the arguments."""

    classes = 0

    def __init__(
        self,
        published: str,
        title: str,
        file: Weights,
        weights: str | None = None,
        digest: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.registered = published
        super().__init__(published, title, file, weights, digest, device)
        self.dimensions = self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=self.device)).features.shape[1]

    def _outputs(self, rgb: Tensor) -> Output:
        (features,) = self._network(rgb)
        return Output(features, features[:, :0])


def resized(size: int) -> str:
    """The words for torch-fidelity's way of resizing images to ``size`` pixels."""
    return (
        f"resized to {size} x {size} by torch-fidelity's bilinear interpolation compatible with TensorFlow 1.x, "
        "not antialiased"
    )
