"""How labels enter networks; every part also works without classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from gantrain.errors import UserError


class Embedded(nn.Module):
    """A generator's input: the latent vector and, where there are classes, the label's embedding behind it.

    Args:
        classes: number of classes; 0 for none.
        latent_dim: length of the latent vector, and of the embedding.

    Attributes:
        features: length of the output.
    """

    def __init__(self, classes: int, latent_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        self.features = latent_dim * (2 if classes else 1)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.embedding is None:
            return z
        return torch.cat([z, self.embedding(_given(labels))], dim=1)


class Projection(nn.Module):
    """A discriminator's logit: ``v . h + b`` of the features ``h``, and with classes ``(v + e_y) . h + b``.

    Source: Miyato and Koyama, cGANs with projection discriminator, ICLR 2018, eq. 3.

    Args:
        features: length of ``h``.
        classes: number of classes; 0 for none.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None
        if self.embedding is not None:
            # On the scale of the linear layer; not zero, which spectral norm would divide by itself.
            nn.init.normal_(self.embedding.weight, std=features**-0.5)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        logits = self.linear(h).squeeze(1)
        if self.embedding is None:
            return logits
        return logits + (self.embedding(_given(labels)) * h).sum(dim=1)


class ConditionalBatchNorm(nn.Module):
    """Batch norm of images ``(n, features, h, w)`` with a scale and a shift for each class, or one for all without any.

    Scales begin at 1, shifts at 0. Source: Dumoulin et al., A learned representation for artistic style, ICLR 2017,
    eq. 5; for GANs, Miyato and Koyama, cGANs with projection discriminator, ICLR 2018, section 5.

    Args:
        features: number of channels.
        classes: number of classes; 0 for none.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=not classes)
        # Plain parameters rather than embedding layers, whose weights spectral norm would divide by.
        self.scale = nn.Parameter(torch.ones(classes, features)) if classes else None
        self.shift = nn.Parameter(torch.zeros(classes, features)) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.scale is None:
            return x
        scale, shift = (embedding(_given(labels), table)[:, :, None, None] for table in (self.scale, self.shift))
        return torch.addcmul(shift, x, scale)


def _given(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise UserError("a class-conditional network needs labels; set game.conditional, or pass labels")
    return labels
