"""Multi-layer perceptrons, for points in space and for small images that are flattened to vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import require_classes
from gantrain.models.layers.conditioning import ConditionalLatent, Projection
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import LayerCount, PositiveInt


class MLPGenerator(nn.Module):
    """Dense layers with ReLU; tanh follows the last layer for images, and nothing for points.

    Args:
        spec: the description of the data.
        width: the number of units of each hidden layer.
        depth: the number of hidden layers.
        latent_dim: the length of the latent vector.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, depth: LayerCount = 2, latent_dim: PositiveInt = 64):
        super().__init__()
        self.spec = spec
        self.latent_dim = latent_dim
        self.embed = ConditionalLatent(spec.classes, latent_dim)
        self.layers = nn.Sequential(
            *_hidden(self.embed.features, width, depth, nn.ReLU()),
            nn.Linear(width, math.prod(spec.shape)),
            nn.Unflatten(1, spec.shape),
            *([nn.Tanh()] if spec.image else []),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to samples ``(n, *shape)``."""
        return self.layers(self.embed(z, labels))


class MLPDiscriminator(nn.Module):
    """Dense layers with leaky ReLU and a linear logit; with classes, the label enters by projection.

    Args:
        spec: the description of the data.
        width: the number of units of each hidden layer.
        depth: the number of hidden layers.
        spectral_norm: whether every layer's weight is divided by its largest singular value.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, depth: LayerCount = 2, spectral_norm: bool = False):
        super().__init__()
        self.spec = spec
        self.layers = nn.Sequential(nn.Flatten(), *_hidden(math.prod(spec.shape), width, depth, nn.LeakyReLU(0.2)))
        self.logit = Projection(width, spec.classes)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, *shape)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(self.layers(x), labels)


class MLPClassifier(nn.Module):
    """Dense layers with ReLU.

    Args:
        spec: the description of the data.
        width: the number of units of each hidden layer.
        depth: the number of hidden layers.

    Raises:
        UserError: the data have no labels.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, depth: LayerCount = 2):
        super().__init__()
        self.spec = spec
        hidden = _hidden(math.prod(spec.shape), width, depth, nn.ReLU())
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, require_classes(spec, "mlp")))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, *shape)`` to logits ``(n, classes)``."""
        return self.layers(x)


class MLPPerturber(nn.Module):
    """Dense layers with ReLU from a sample and an embedding of its label to as many values as a sample has.

    Args:
        spec: the description of the data.
        width: the number of units of each hidden layer, and the length of the embedding.
        depth: the number of hidden layers, at least 1.

    Raises:
        UserError: the data have no labels.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, depth: PositiveInt = 2):
        super().__init__()
        self.spec = spec
        self.embedding = nn.Embedding(require_classes(spec, "mlp"), width)
        size = math.prod(spec.shape)
        self.layers = nn.Sequential(
            *_hidden(size + width, width, depth, nn.ReLU()), nn.Linear(width, size), nn.Unflatten(1, spec.shape)
        )

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """``(n, *shape)`` and ``(n,)`` to values ``(n, *shape)``."""
        return self.layers(torch.cat([x.flatten(1), self.embedding(labels)], dim=1))


def _hidden(features: int, width: int, depth: int, activation: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(features if i == 0 else width, width), activation]
    return layers
