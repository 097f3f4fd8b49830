"""The convolutional networks of the SNGAN paper, for images whose shorter side has 16, 32, 48, 64, 96 or 128 pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import relu

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import pyramid
from gantrain.models.layers.conditioning import ConditionalBatchNorm, Projection
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt

# The paper has 32 and 48 pixels. All sizes have as many layers, and a smallest map of an eighth of the size.
_DOUBLINGS = dict.fromkeys((16, 32, 48, 64, 96, 128), 3)
_SLOPE = 0.1


class SNDCGANGenerator(nn.Module):
    """A dense layer to a map of an eighth of the size, three transposed convolutions that double it, and a last one.

    The maps have 8, 4, 2 and 1 times ``width`` channels. Batch norm and ReLU follow all layers but the last, which tanh
    follows. With classes, every batch norm has a scale and a shift of its own for each class. Source: Miyato et al.,
    Spectral normalization for generative adversarial networks, ICLR 2018, appendix B.4, table 3; Kurach et al. (ICML
    2019) call it SNDCGAN, and take it to other sizes as here. The layers and their initialisation, torch's own, are
    those of the network ``cnn`` in the published code of arXiv 2310.13459.

    Args:
        spec: the description of the data.
        width: the number of channels before the last layer; 64 in the paper.
        latent_dim: the length of the latent vector.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 64, latent_dim: PositiveInt = 128):
        super().__init__()
        maps = pyramid(spec, "sndcgan", _DOUBLINGS)
        self.spec = spec
        self.latent_dim = latent_dim
        widths = [8 * width, 4 * width, 2 * width, width]
        self.dense = nn.ConvTranspose2d(latent_dim, widths[0], maps.smallest)
        self.norms = nn.ModuleList(ConditionalBatchNorm(channels, spec.classes) for channels in widths)
        self.layers = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.layers.append(nn.ConvTranspose2d(width, maps.channels, 3, 1, 1))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        h: Tensor = self.dense(z[:, :, None, None])
        for norm, layer in zip(self.norms, self.layers, strict=True):
            h = layer(relu(norm(h, labels)))
        return h.tanh()


class SNDCGANDiscriminator(nn.Module):
    """Seven convolutions with leaky ReLU of slope 0.1, three of which halve the size, and a linear logit.

    The channels after them are 1, 1, 2, 2, 4, 4 and 8 times ``width``; the second, fourth and sixth halve. With
    classes, the label enters by projection. Nothing is normalised across the batch. Source and initialisation are those
    of the generator.

    Args:
        spec: the description of the data.
        width: the number of channels after the first layer; 64 in the paper.
        spectral_norm: whether every layer's weight is divided by its largest singular value.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 64, spectral_norm: bool = True):
        super().__init__()
        maps = pyramid(spec, "sndcgan", _DOUBLINGS)
        self.spec = spec
        layers: list[nn.Module] = []
        before = maps.channels
        for units in (1, 2, 4):
            layers += [nn.Conv2d(before, units * width, 3, 1, 1), nn.LeakyReLU(_SLOPE)]
            layers += [nn.Conv2d(units * width, units * width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
            before = units * width
        layers += [nn.Conv2d(before, 8 * width, 3, 1, 1), nn.LeakyReLU(_SLOPE), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.logit = Projection(8 * width * math.prod(maps.smallest), spec.classes)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(self.layers(x), labels)
