"""The deep convolutional networks of Radford et al., for images whose shorter side has 16, 32, 64 or 128 pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import from_four, pyramid
from gantrain.models.layers.conditioning import ConditionalLatent, Projection

if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt

_DOUBLINGS = from_four((16, 32, 64, 128))


class DCGANGenerator(nn.Module):
    """The latent vector projected to 4 x 4, then strided transposed convolutions; batch norm and ReLU between.

    Weights are drawn from ``N(0, 0.02^2)``, the scales of batch norm around 1. With classes, an embedding of the label
    is concatenated to the latent vector. Source: Radford et al., Unsupervised representation learning with deep
    convolutional generative adversarial networks, ICLR 2016, figure 1 and section 4.

    Args:
        spec: the description of the data.
        width: the number of channels before the last layer; it doubles with each layer towards the latent vector, so
            that the paper's 128 at 64 pixels means 1024 at 4 x 4.
        latent_dim: the length of the latent vector.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, latent_dim: PositiveInt = 100):
        super().__init__()
        maps = pyramid(spec, "dcgan", _DOUBLINGS)
        self.spec = spec
        self.latent_dim = latent_dim
        self.embed = ConditionalLatent(spec.classes, latent_dim)
        widths = [width << i for i in reversed(range(maps.doublings))]
        first = (widths[0], *maps.smallest)
        layers = [nn.Linear(self.embed.features, math.prod(first), bias=False), nn.Unflatten(1, first)]
        for before, after in zip(widths, [*widths[1:], maps.channels], strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        _initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        return self.layers(self.embed(z, labels))


class DCGANDiscriminator(nn.Module):
    """Strided convolutions down to 4 x 4 with leaky ReLU, and batch norm after all but the first; a linear logit.

    With classes, the label enters by projection. Initialisation and source are those of the generator.

    Args:
        spec: the description of the data.
        width: the number of channels after the first layer; it doubles with each further layer.
        batch_norm: whether there is batch norm. It couples the samples of a batch, so that a gradient penalty does not
            act on each sample alone; without it the convolutions have biases, which begin at 0.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 128, batch_norm: bool = True):
        super().__init__()
        maps = pyramid(spec, "dcgan", _DOUBLINGS)
        self.spec = spec
        widths = [width << i for i in range(maps.doublings)]
        layers: list[nn.Module] = [nn.Conv2d(maps.channels, width, 4, 2, 1, bias=not batch_norm), nn.LeakyReLU(0.2)]
        for before, after in zip(widths, widths[1:], strict=False):
            norm = [nn.BatchNorm2d(after)] if batch_norm else []
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=not batch_norm), *norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.logit = Projection(widths[-1] * math.prod(maps.smallest), spec.classes)
        _initialise(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(self.layers(x), labels)


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, mean=1.0, std=0.02)
