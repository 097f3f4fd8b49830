"""The networks of BigGAN, for images whose shorter side has 32, 64, 128 or 256 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, embedding, interpolate, relu

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.attention import SelfAttention
from gantrain.models.layers.checks import pyramid
from gantrain.models.layers.conditioning import ConditionalBatchNorm, LinearBatchNorm, Projection, given
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeInt, PositiveInt

Initialisation = Literal["orthogonal", "normal"]

# The length of each part of a split latent vector, at every size of the paper.
_PART = 20
_LATENT = 128


@dataclass(frozen=True)
class Stages:
    """The two networks for one image size; numbers of channels are in multiples of ``width``.

    Args:
        generator: the channels of the first feature map and after each block; every block doubles the size.
        discriminator: the channels after each block.
        halvings: the number of the discriminator's blocks that halve the size; these are its first blocks.
        width: the published ``width``.
        attention: the published size of the feature maps after which self-attention is inserted; 0 for none.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    halvings: int
    width: int
    attention: int


# From tables 4 and 5 of the paper's appendix; those for 32 and 64 pixels are from the authors' PyTorch code.
_STAGES = {
    32: Stages((4, 4, 4, 4), (4, 4, 4, 4), 2, 64, 0),
    64: Stages((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4, 64, 0),
    128: Stages((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5, 96, 64),
    256: Stages((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6, 96, 64),
}
_DOUBLINGS = {size: len(stages.generator) - 1 for size, stages in _STAGES.items()}


class BigGANGenerator(nn.Module):
    """A dense layer to a small map, residual blocks that double its size, batch norm, ReLU and a convolution.

    The scales and shifts of all batch norms but the last are linear functions of a vector: an embedding of the class,
    which all blocks share, and a part of the latent vector, of which each block has its own and the dense layer the
    first. Without classes, the vector is the part of the latent vector alone. Source: Brock et al., Large scale GAN
    training for high fidelity natural image synthesis, ICLR 2019, appendices B and C, and the authors' PyTorch code, to
    which the numbers of parameters are equal.

    Args:
        spec: the description of the data.
        width: the unit of the numbers of channels: maps have 1 to 16 times as many, and at 32 pixels 4 times. By
            default it is the published one: 64 at 32 and 64 pixels, 96 at larger sizes.
        latent_dim: the length of the latent vector. By default each part of a split vector has the length 20, which
            makes 80, 100, 120 or 140 from 32 to 256 pixels, and a vector that is not split has the length 128.
        embedding_dim: the length of the embedding of the class; 0 gives each batch norm a scale and a shift of its own
            for each class in its place, as in the authors' CIFAR-10 script.
        split_latent: whether each block has a part of the latent vector, or the dense layer has all of it.
        attention: the size in pixels (of the shorter side) of a feature map after which self-attention is inserted; 0
            inserts none. By default it is the published one: 64 at 128 and 256 pixels, and none at 32 and 64.
        initialisation: "orthogonal", or "normal" for ``N(0, 0.02^2)``, as in the authors' CIFAR-10 script.
        spectral_norm: whether the weight of every layer but the embedding is divided by its largest singular value.

    Raises:
        UserError: the data are not images of a size that fits; no feature map has the size of ``attention``;
            ``latent_dim`` has no equal parts; a split latent vector lacks the embedding.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt | None = None,
        latent_dim: PositiveInt | None = None,
        embedding_dim: NonNegativeInt = 128,
        split_latent: bool = True,
        attention: NonNegativeInt | None = None,
        initialisation: Initialisation = "orthogonal",
        spectral_norm: bool = True,
    ):
        super().__init__()
        maps = pyramid(spec, "biggan", _DOUBLINGS)
        stages = _STAGES[maps.size]
        width = width or stages.width
        widths = [width * units for units in stages.generator]
        attention = _attended(attention, stages, [maps.size >> i for i in reversed(range(maps.doublings))])
        parts = len(widths) if split_latent else 1
        self.spec = spec
        self.latent_dim = latent_dim or (_PART * parts if split_latent else _LATENT)
        if self.latent_dim % parts:
            raise UserError(
                f"model biggan: latent_dim: expected a multiple of {parts}, since the latent vector has a part for the "
                f"first layer and for each of {parts - 1} blocks, got {self.latent_dim}; choose another, or "
                "split_latent: false"
            )
        if split_latent and spec.classes and not embedding_dim:
            raise UserError(
                "model biggan: embedding_dim: 0 has no vector to which a part of the latent vector could be appended; "
                "set split_latent to false, or embedding_dim to 128"
            )
        self.part = self.latent_dim // parts
        # This is a parameter and no embedding layer, since spectral norm would normalise such a layer's weight.
        shared = spec.classes and embedding_dim
        self.embedding = nn.Parameter(torch.empty(spec.classes, embedding_dim)) if shared else None
        length = (self.part if split_latent else 0) + (embedding_dim if shared else 0)
        self.dense = nn.Linear(self.part, widths[0] * math.prod(maps.smallest))
        self.unflatten = nn.Unflatten(1, (widths[0], *maps.smallest))
        self.blocks = nn.ModuleList()
        for i in range(maps.doublings):
            attend = attention == maps.size >> (maps.doublings - 1 - i)
            self.blocks.append(GeneratorBlock(widths[i], widths[i + 1], length, spec.classes, attend))
        last = nn.Conv2d(widths[-1], maps.channels, 3, 1, 1)
        self.to_image = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Tanh())
        _initialise(self, initialisation)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        shared = z[:, :0] if self.embedding is None else embedding(given(labels), self.embedding)
        first, *parts = z.split(self.part, dim=1)
        h = self.unflatten(self.dense(first))
        for i, block in enumerate(self.blocks):
            h = block(h, torch.cat([shared, parts[i]], dim=1) if parts else shared, labels)
        return self.to_image(h)


class BigGANDiscriminator(nn.Module):
    """Residual blocks, the first of which halve the size, then ReLU, the sum over all positions and a linear logit.

    With classes, the label enters by projection. Nothing is normalised across the batch. The source is that of the
    generator.

    Args:
        spec: the description of the data.
        width: the unit of the numbers of channels: maps have 1 to 16 times as many, and at 32 pixels 4 times. By
            default it is the published one: 64 at 32 and 64 pixels, 96 at larger sizes.
        attention: the size in pixels (of the shorter side) of a feature map after which self-attention is inserted; 0
            inserts none. By default it is the published one: 64 at 128 and 256 pixels, and none at 32 and 64.
        initialisation: "orthogonal", or "normal" for ``N(0, 0.02^2)``, as in the authors' CIFAR-10 script.
        spectral_norm: whether every layer's weight is divided by its largest singular value.

    Raises:
        UserError: the data are not images of a size that fits; no feature map has the size of ``attention``.
    """

    independent_samples = True

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt | None = None,
        attention: NonNegativeInt | None = None,
        initialisation: Initialisation = "orthogonal",
        spectral_norm: bool = True,
    ):
        super().__init__()
        maps = pyramid(spec, "biggan", _DOUBLINGS)
        stages = _STAGES[maps.size]
        width = width or stages.width
        widths = [maps.channels, *(width * units for units in stages.discriminator)]
        sizes = [maps.size >> min(i, stages.halvings) for i in range(len(widths))]
        attention = _attended(attention, stages, sizes[1:])
        self.spec = spec
        self.blocks = nn.Sequential()
        for i in range(len(widths) - 1):
            attend = attention == sizes[i + 1] and attention not in sizes[1 : i + 1]
            self.blocks.append(DiscriminatorBlock(widths[i], widths[i + 1], sizes[i + 1] < sizes[i], attend, i == 0))
        self.logit = Projection(widths[-1], spec.classes)
        _initialise(self, initialisation)
        if spectral_norm:
            spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(relu(self.blocks(x)).sum(dim=(2, 3)), labels)


class GeneratorBlock(nn.Module):
    """Norm, ReLU, doubling, convolution, norm, ReLU, convolution; a 1 x 1 convolution of the input, doubled, is added.

    Args:
        before: the number of channels of the input.
        after: the number of channels of the output.
        length: the length of the vector of which the norms' scales and shifts are linear functions. If it is 0, each
            class has scales and shifts of its own.
        classes: the number of classes; 0 for none.
        attend: whether self-attention follows.
    """

    def __init__(self, before: int, after: int, length: int, classes: int, attend: bool):
        super().__init__()
        self.by_class = not length
        self.norm1, self.norm2 = (
            LinearBatchNorm(channels, length) if length else ConditionalBatchNorm(channels, classes)
            for channels in (before, after)
        )
        self.conv1 = nn.Conv2d(before, after, 3, 1, 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.bypass = nn.Conv2d(before, after, 1)
        self.attention = _attention(after) if attend else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None) -> Tensor:
        chooses = labels if self.by_class else condition
        h = self.conv1(interpolate(relu(self.norm1(x, chooses)), scale_factor=2))
        h = self.conv2(relu(self.norm2(h, chooses)))
        # A 1 x 1 convolution commutes with the doubling, and before the doubling costs a quarter.
        return self.attention(h + interpolate(self.bypass(x), scale_factor=2))


class DiscriminatorBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution and, in some blocks, halving of the size; the input is added.

    The first block, which sees the image, has no ReLU before its first convolution. The bypass has a 1 x 1 convolution
    where the size or the number of channels changes, and no parameters elsewhere.
    """

    def __init__(self, before: int, after: int, halve: bool, attend: bool, first: bool):
        super().__init__()
        self.first = first
        self.halve = halve
        self.conv1 = nn.Conv2d(before, after, 3, 1, 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.bypass = nn.Conv2d(before, after, 1) if halve or before != after else nn.Identity()
        self.attention = _attention(after) if attend else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(x if self.first else relu(x))))
        if self.halve:
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        return self.attention(h + self.bypass(x))


def _attention(channels: int) -> SelfAttention:
    return SelfAttention(channels, values=max(1, channels // 2), pooled=True)


def _attended(attention: int | None, stages: Stages, sizes: list[int]) -> int:
    """The size of the feature maps after which self-attention is inserted, or 0; ``sizes`` are those there are."""
    if attention is None:
        return stages.attention
    if attention and attention not in sizes:
        known = ", ".join(map(str, sorted(set(sizes))))
        raise UserError(
            f"model biggan: attention: expected the size of one of its feature maps ({known} pixels) or 0, got "
            f"{attention}"
        )
    return attention


@torch.no_grad()
def _initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw all weights; the scales of a class are 1 plus such a draw, and biases keep PyTorch's initial values."""

    def draw_(weight: Tensor) -> None:
        if initialisation == "orthogonal":
            nn.init.orthogonal_(weight)
        else:
            nn.init.normal_(weight, std=0.02)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            draw_(module.weight)
        if isinstance(module, ConditionalBatchNorm) and module.scale is not None and module.shift is not None:
            draw_(module.scale)
            module.scale.add_(1)
            draw_(module.shift)
        if isinstance(module, BigGANGenerator) and module.embedding is not None:
            draw_(module.embedding)
