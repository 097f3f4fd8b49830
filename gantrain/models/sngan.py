"""The spectrally normalised residual networks of Miyato et al., for images of 32, 48, 64 and 128 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.attention import SelfAttention
from gantrain.models.layers.checks import pyramid
from gantrain.models.layers.conditioning import ConditionalBatchNorm, Projection
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt


@dataclass(frozen=True)
class Stages:
    """The numbers of channels in the two networks for one image size, in multiples of ``width``.

    Args:
        generator: the channels of the first feature map and after each block; every block doubles the size.
        discriminator: the channels after each block.
        halvings: the number of the discriminator's blocks that halve the size; these are its first blocks.
        widths: the paper's ``width`` of the generator and of the discriminator.
        bypasses: whether all of the generator's bypasses have a convolution, or only those that change the number of
            channels.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int
    widths: tuple[int, int] = (64, 64)
    bypasses: bool = True


# From tables 3, 4 and 6 of the paper's appendix; the networks for 64 pixels are those for 128 without one block. The
# bypasses at 32 pixels are those of the published code of arXiv 2310.13459.
_STAGES = {
    32: Stages((1, 1, 1, 1), (1, 1, 1, 1), 2, (256, 128), bypasses=False),
    48: Stages((8, 4, 2, 1), (1, 2, 4, 8, 16), 4),
    64: Stages((16, 8, 4, 2, 1), (1, 2, 4, 8, 16), 5),
    128: Stages((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}
_DOUBLINGS = {size: len(stages.generator) - 1 for size, stages in _STAGES.items()}


class SNGANGenerator(nn.Module):
    """A dense layer to a small map, residual blocks that double its size, batch norm, ReLU and a convolution.

    With classes, every batch norm but the last has a scale and a shift of its own for each class.
    Source: Miyato et al., Spectral normalization for generative adversarial networks, ICLR 2018, appendix B.4, and its
    published code. Two things are those of the published code of arXiv 2310.13459, whose runs this network repeats: at
    32 pixels the bypasses have no convolution, and the initialisation is Xavier's with gain 1, and with gain sqrt 2 for
    bypasses. Miyato's code exchanges the gains and begins with biases of 0, and its batch norm's epsilon is 2e-5 in
    place of torch's 1e-5.

    Args:
        spec: the description of the data.
        width: the number of channels before the last layer. By default it is the paper's: 256 at 32 pixels, where all
            blocks have this width, and 64 at other sizes, where the first map has up to 16 times as many channels.
        latent_dim: the length of the latent vector.
        attention: the size in pixels of a feature map after which self-attention is inserted; null (the default)
            inserts none. Zhang et al. (SAGAN, ICML 2019) take 32 at 128 pixels.
        spectral_norm: whether every layer's weight is divided by its largest singular value, as in SAGAN.

    Raises:
        UserError: the data are not images of a size that fits; no feature map has the size of ``attention``.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt | None = None,
        latent_dim: PositiveInt = 128,
        attention: PositiveInt | None = None,
        spectral_norm: bool = False,
    ):
        super().__init__()
        maps = pyramid(spec, "sngan", _DOUBLINGS)
        stages = _STAGES[maps.size]
        width = width or stages.widths[0]
        widths = [width * units for units in stages.generator]
        sizes = [maps.size >> (maps.doublings - i) for i in range(len(widths))]
        _check_attention(attention, sizes[1:])
        self.spec = spec
        self.latent_dim = latent_dim
        self.dense = nn.Linear(latent_dim, widths[0] * math.prod(maps.smallest))
        self.unflatten = nn.Unflatten(1, (widths[0], *maps.smallest))
        self.blocks = nn.ModuleList(
            GeneratorBlock(widths[i], widths[i + 1], spec.classes, attention == sizes[i + 1], stages.bypasses)
            for i in range(len(widths) - 1)
        )
        last = nn.Conv2d(width, maps.channels, 3, 1, 1)
        self.to_image = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), last, nn.Tanh())
        _initialise(self)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        h = self.unflatten(self.dense(z))
        for block in self.blocks:
            h = block(h, labels)
        return self.to_image(h)


class SNGANDiscriminator(nn.Module):
    """Residual blocks, the first of which halve the size, then ReLU, the mean over all positions and a linear logit.

    With classes, the label enters by projection. Nothing is normalised across the batch.
    Source: Miyato et al., Spectral normalization for generative adversarial networks, ICLR 2018, appendix B.4, and its
    published code. As in the published code of arXiv 2310.13459, the mean over all positions takes the place of their
    sum, the logit has a bias also at 32 pixels, and the initialisation is that of the generator.

    Args:
        spec: the description of the data.
        width: the number of channels after the first block. By default it is the paper's: 128 at 32 pixels, where all
            blocks have this width, and 64 at other sizes, where the last map has up to 16 times as many channels.
        attention: the size in pixels of a feature map after which self-attention is inserted; null (the default)
            inserts none.
        spectral_norm: whether every layer's weight is divided by its largest singular value.

    Raises:
        UserError: the data are not images of a size that fits; no feature map has the size of ``attention``.
    """

    independent_samples = True

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt | None = None,
        attention: PositiveInt | None = None,
        spectral_norm: bool = True,
    ):
        super().__init__()
        maps = pyramid(spec, "sngan", _DOUBLINGS)
        stages = _STAGES[maps.size]
        width = width or stages.widths[1]
        widths = [maps.channels, *(width * units for units in stages.discriminator)]
        sizes = [maps.size >> min(i, stages.halvings) for i in range(len(widths))]
        _check_attention(attention, sizes[1:])
        self.spec = spec
        self.blocks = nn.Sequential()
        for i in range(len(widths) - 1):
            attend = attention == sizes[i + 1] and attention not in sizes[1 : i + 1]
            block = DiscriminatorBlock(widths[i], widths[i + 1], sizes[i + 1] < sizes[i], attend, first=i == 0)
            self.blocks.append(block)
        self.logit = Projection(widths[-1], spec.classes)
        _initialise(self)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(relu(self.blocks(x)).mean(dim=(2, 3)), labels)


class GeneratorBlock(nn.Module):
    """Norm, ReLU, doubling of the size, convolution, norm, ReLU, convolution; the input, doubled, is added.

    The bypass has a 1 x 1 convolution where the number of channels changes, or everywhere.
    """

    def __init__(self, before: int, after: int, classes: int, attend: bool, bypass: bool):
        super().__init__()
        self.norm1 = ConditionalBatchNorm(before, classes)
        self.conv1 = nn.Conv2d(before, after, 3, 1, 1)
        self.norm2 = ConditionalBatchNorm(after, classes)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.bypass = nn.Conv2d(before, after, 1) if bypass or before != after else nn.Identity()
        self.attention = SelfAttention(after) if attend else nn.Identity()

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = self.conv1(interpolate(relu(self.norm1(x, labels)), scale_factor=2))
        h = self.conv2(relu(self.norm2(h, labels)))
        # A 1 x 1 convolution commutes with the doubling, and before the doubling costs a quarter.
        return self.attention(h + interpolate(self.bypass(x), scale_factor=2))


class DiscriminatorBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution and, in some blocks, halving of the size; the input is added.

    Between the convolutions there are as many channels as in the input. The first block, which sees the image, has as
    many as in its output there, and no ReLU before its first convolution. The bypass has a 1 x 1 convolution where the
    size or the number of channels changes, and no parameters elsewhere.
    """

    def __init__(self, before: int, after: int, halve: bool, attend: bool, first: bool):
        super().__init__()
        self.first = first
        self.halve = halve
        inner = after if first else before
        self.conv1 = nn.Conv2d(before, inner, 3, 1, 1)
        self.conv2 = nn.Conv2d(inner, after, 3, 1, 1)
        self.bypass = nn.Conv2d(before, after, 1) if halve or before != after else nn.Identity()
        self.attention = SelfAttention(after) if attend else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        if self.halve:
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        return self.attention(h + self.bypass(x))


def _initialise(network: nn.Module) -> None:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=2**0.5 if name.endswith("bypass") else 1.0)


def _check_attention(attention: int | None, sizes: list[int]) -> None:
    if attention is not None and attention not in sizes:
        known = ", ".join(map(str, sorted(set(sizes))))
        raise UserError(
            f"model sngan: attention: expected the size of one of its feature maps ({known} pixels), got {attention}"
        )
