"""Layers through which labels enter networks; each of them also works without classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from gantrain.errors import UserError


class ConditionalLatent(nn.Module):
    """The first layer of a generator: it appends an embedding of the label to the latent vector.

    Without classes the latent vector is passed on unchanged.

    Args:
        classes: the number of classes; 0 for none.
        latent_dim: the length of the latent vector, and of the embedding.

    Attributes:
        features: the length of the output.
    """

    def __init__(self, classes: int, latent_dim: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None
        self.features = latent_dim * (2 if classes else 1)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.embedding is None:
            return z
        return torch.cat([z, self.embedding(given(labels))], dim=1)


class Projection(nn.Module):
    """The last layer of a discriminator: from features ``h`` the logit ``v . h + b``, or ``(v + e_y) . h + b``.

    The second form is used with classes; ``e_y`` is an embedding of the label.

    Source: Miyato and Koyama, cGANs with projection discriminator, ICLR 2018, eq. 3.

    Args:
        features: the length of ``h``.
        classes: the number of classes; 0 for none.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None
        if self.embedding is not None:
            # The scale is that of the linear layer. It is not 0, since spectral norm would divide 0 by 0.
            nn.init.normal_(self.embedding.weight, std=features**-0.5)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        logits = self.linear(h).squeeze(1)
        if self.embedding is None:
            return logits
        return logits + (self.embedding(given(labels)) * h).sum(dim=1)


class ClassHead(nn.Linear):
    """A dense layer from features to a logit for each class, beside a network's last layer. It is no hidden layer."""


class LabelProduct(nn.Module):
    """The last layer of R3GAN's discriminator: from features ``h`` the logit ``w . h``, or ``e_y . W h``.

    The second form is used with classes: ``W`` is a square matrix and ``e_y`` an embedding of the label. There is no
    bias. ``w`` and ``W`` are drawn from ``N(0, 1 / features)``, the embedding from ``N(0, 1 / (features classes))``.

    Source: Huang et al., The GAN is dead; long live the GAN!, NeurIPS 2024, its published code.

    Args:
        features: the length of ``h``.
        classes: the number of classes; 0 for none.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, features if classes else 1, bias=False)
        nn.init.normal_(self.linear.weight, std=features**-0.5)
        self.embedding = nn.Embedding(classes, features) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=(features * classes) ** -0.5)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        """Features ``(n, features)`` and labels ``(n,)`` to logits ``(n,)``."""
        h = self.linear(h)
        if self.embedding is None:
            return h.squeeze(1)
        return (h * self.embedding(given(labels))).sum(dim=1)


class EqualisedEmbedding(nn.Module):
    """``E_y / sqrt(classes) + b`` for a label ``y``: a dense layer of the label as a unit vector.

    ``E`` is initially drawn from ``N(0, 1)``, so that its learning rate is equalised; ``b`` is initially 0.

    Args:
        classes: the number of classes.
        features: the length of the embedding.
    """

    def __init__(self, classes: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, labels: Tensor | None) -> Tensor:
        """``(n,)`` to ``(n, features)``."""
        return embedding(given(labels), self.weight) / len(self.weight) ** 0.5 + self.bias


class ConditionalBatchNorm(nn.Module):
    """Batch norm of feature maps ``(n, features, h, w)`` with a scale and a shift of their own for each class.

    Without classes it is ordinary batch norm. Scales are initially 1, shifts 0.
    Source: Dumoulin et al., A learned representation for artistic style, ICLR 2017, eq. 5; for GANs, Miyato and Koyama,
    cGANs with projection discriminator, ICLR 2018, section 5.

    Args:
        features: the number of channels.
        classes: the number of classes; 0 for none.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=not classes)
        # These are parameters and no embedding layers, since spectral norm would normalise the weights of such layers.
        self.scale = nn.Parameter(torch.ones(classes, features)) if classes else None
        self.shift = nn.Parameter(torch.zeros(classes, features)) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.scale is None or self.shift is None:
            return x
        scale, shift = (embedding(given(labels), table)[:, :, None, None] for table in (self.scale, self.shift))
        return torch.addcmul(shift, x, scale)


class LinearBatchNorm(nn.Module):
    """Batch norm of feature maps ``(n, features, h, w)`` times ``1 + W_scale c``, plus ``W_shift c``.

    The vector ``c`` belongs to the sample. Without such a vector it is ordinary batch norm.
    Source: Brock et al., Large scale GAN training for high fidelity natural image synthesis, ICLR 2019, appendix B.

    Args:
        features: the number of channels.
        length: the length of ``c``; 0 for none.
    """

    def __init__(self, features: int, length: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=not length)
        self.scale = nn.Linear(length, features, bias=False) if length else None
        self.shift = nn.Linear(length, features, bias=False) if length else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.norm(x)
        if self.scale is None or self.shift is None:
            return x
        scale, shift = (layer(condition)[:, :, None, None] for layer in (self.scale, self.shift))
        return torch.addcmul(shift, x, 1 + scale)


def given(labels: Tensor | None) -> Tensor:
    """The labels, which a class-conditional network needs.

    Raises:
        UserError: there are none.
    """
    if labels is None:
        raise UserError(
            "a class-conditional network needs labels; set game.conditional, or in a game of your own pass "
            "batch.labels or let spec_for_network return spec.unconditional()"
        )
    return labels
