"""Convolutional networks for images whose shorter side has 8, 16, 32 or 64 pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.checks import from_four, pyramid, require_classes
from gantrain.models.layers.conditioning import ConditionalLatent, Projection
from gantrain.models.layers.initialisation import he_initialise_
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt

_DOUBLINGS = from_four((8, 16, 32, 64))


class ConvGenerator(nn.Module):
    """A dense layer to 4 x 4, then transposed convolutions that double the size, the last one to the image.

    The channels start at ``width * 2^(s - 1)`` for ``s`` doublings and halve with each, so that ``width`` is the number
    of channels before the image. With classes, an embedding of the label is concatenated to the latent vector.
    Architecture after Radford et al., Unsupervised representation learning with DCGANs, ICLR 2016.

    Args:
        spec: the description of the data.
        width: the number of channels before the last layer.
        latent_dim: the length of the latent vector.
        norm: the normalisation after each layer but the last: batch norm, group norm (up to 8 groups) or none.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt = 32,
        latent_dim: PositiveInt = 64,
        norm: Literal["batch", "group", "none"] = "batch",
    ):
        super().__init__()
        maps = pyramid(spec, "conv", _DOUBLINGS)
        self.spec = spec
        self.latent_dim = latent_dim
        self.embed = ConditionalLatent(spec.classes, latent_dim)
        widths = [width << i for i in reversed(range(maps.doublings))]
        first = (widths[0], *maps.smallest)
        self.dense = nn.Linear(self.embed.features, math.prod(first), bias=norm == "none")
        layers: list[nn.Module] = [nn.Unflatten(1, first), *_normalised(norm, widths[0]), nn.ReLU()]
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=norm == "none"), *_normalised(norm, after)]
            layers.append(nn.ReLU())
        layers += [nn.ConvTranspose2d(width, maps.channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        return self.layers(self.dense(self.embed(z, labels)))


class ConvDiscriminator(nn.Module):
    """Convolutions that halve the size down to 4 x 4, then a linear logit; leaky ReLU between.

    Nothing is normalised across the batch, so that a gradient penalty is well defined for each sample. With classes,
    the label enters by projection.

    Args:
        spec: the description of the data.
        width: the number of channels after the first layer; it doubles with each halving of the size.
        spectral_norm: whether every layer's weight is divided by its largest singular value (Miyato et al., Spectral
            normalization for GANs, ICLR 2018).

    Raises:
        UserError: the data are not images of a size that fits.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 32, spectral_norm: bool = False):
        super().__init__()
        maps = pyramid(spec, "conv", _DOUBLINGS)
        self.spec = spec
        layers: list[nn.Module] = [nn.Conv2d(maps.channels, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        for i in range(maps.doublings):
            layers += [nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 4, 2, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.logit = Projection((width << maps.doublings) * math.prod(maps.smallest), spec.classes)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(self.layers(x), labels)


class ConvClassifier(nn.Module):
    """Convolutions that halve the size down to 4 x 4, normalised, with ReLU; then a dense layer.

    Args:
        spec: the description of the data.
        width: the number of channels after the first layer; it doubles with each halving of the size.
        norm: the normalisation after each convolution: batch norm, group norm (up to 8 groups) or none.

    Raises:
        UserError: the data have no labels, or are not images of a size that fits.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 32, norm: Literal["batch", "group", "none"] = "batch"):
        super().__init__()
        maps = pyramid(spec, "conv", _DOUBLINGS)
        self.spec = spec
        layers: list[nn.Module] = []
        before = maps.channels
        for i in range(maps.doublings + 1):
            after = width * 2**i
            kernel, stride = (4, 2) if i else (3, 1)
            layers.append(nn.Conv2d(before, after, kernel, stride, 1, bias=norm == "none"))
            layers += [*_normalised(norm, after), nn.ReLU()]
            before = after
        head = nn.Linear(before * math.prod(maps.smallest), require_classes(spec, "conv"))
        self.layers = nn.Sequential(*layers, nn.Flatten(), head)
        he_initialise_(self, "fan_in")
        nn.init.zeros_(head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to logits ``(n, classes)``."""
        return self.layers(x)


class ConvPerturber(nn.Module):
    """Convolutions of 3 x 3 at the size of the image, with ReLU, from an image to values of the same shape.

    An embedding of the label is added to the channels after the first convolution. Nothing is normalised.

    Args:
        spec: the description of the data.
        width: the number of channels.
        depth: the number of convolutions before the last one.

    Raises:
        UserError: the data have no labels, or are no images.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 32, depth: PositiveInt = 3):
        super().__init__()
        if not spec.image:
            raise UserError(f"model conv: expected images, got data of shape {spec.shape}; choose the model mlp")
        channels = spec.shape[0]
        self.spec = spec
        self.first = nn.Conv2d(channels, width, 3, 1, 1)
        self.embedding = nn.Embedding(require_classes(spec, "conv"), width)
        between = [layer for _ in range(depth - 1) for layer in (nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())]
        self.layers = nn.Sequential(nn.ReLU(), *between, nn.Conv2d(width, channels, 3, 1, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to values of the images' shape."""
        return self.layers(self.first(x) + self.embedding(labels)[:, :, None, None])


def _normalised(norm: str, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        return [nn.GroupNorm(groups, channels)]
    return []
