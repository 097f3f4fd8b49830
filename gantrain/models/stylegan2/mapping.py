"""The mapping network of StyleGAN2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrain.compute.precision import full_precision
from gantrain.models.layers.conditioning import EqualisedEmbedding
from gantrain.models.layers.equalised import EqualisedLinear, activated, normalised

_LEARNING_RATE = 0.01


class Mapping(nn.Module):
    """Dense layers from a latent vector, a label or both to a style vector ``w``, in full precision.

    Latent vectors and embeddings of labels are divided by the root of their mean square first. All dense layers have
    the learning rate times 0.01.

    Args:
        latent_dim: the length of a latent vector; 0 for none.
        classes: the number of classes; 0 for none.
        features: the length of ``w``, of the embedding, and of the layers in between.
        layers: the number of dense layers.
    """

    def __init__(self, latent_dim: int, classes: int, features: int, layers: int):
        super().__init__()
        self.embedding = EqualisedEmbedding(classes, features) if classes else None
        before = latent_dim + (features if classes else 0)
        self.layers = nn.ModuleList(
            EqualisedLinear(features if i else before, features, learning_rate=_LEARNING_RATE) for i in range(layers)
        )

    def forward(self, z: Tensor | None, labels: Tensor | None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to ``(n, features)``; what the network does not have is None."""
        parts = [] if z is None else [normalised(z)]
        if self.embedding is not None:
            parts.append(normalised(self.embedding(labels)))
        x = torch.cat(parts, dim=1)
        with full_precision(x.device):
            for layer in self.layers:
                x = activated(layer(x))
        return x
