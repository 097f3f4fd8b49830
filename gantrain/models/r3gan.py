"""The networks of R3GAN: residual blocks with grouped convolutions and without normalisation layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.checks import Pyramid, from_four, pyramid
from gantrain.models.layers.conditioning import ConditionalLatent, LabelProduct
from gantrain.models.layers.resampling import Blur, Upsample

if TYPE_CHECKING:
    from gantrain.config.types import LayerCount, PositiveInt

_DOUBLINGS = from_four((8, 16, 32, 64, 128, 256))
_SLOPE = 0.2

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class R3GANGenerator(nn.Module):
    """A learnt 4 x 4 basis weighted by the latent vector, then stages of residual blocks; the size doubles in between.

    Feature maps of up to 32 pixels have ``width`` channels; the channels of larger maps halve with each doubling. With
    classes, an embedding of the label, drawn from ``N(0, 1 / classes)``, is concatenated to the latent vector. Images
    go through tanh, as in all generators here, so that the discriminator sees the range of real images; the published
    code has no tanh and clips images when it saves them. All else equals that code, which also draws the initial
    weights from these distributions. Source: Huang et al., The GAN is dead; long live the GAN! A modern GAN baseline,
    NeurIPS 2024, section 4 (config E) and its published code.

    Args:
        spec: the description of the data.
        width: the number of channels of maps of up to 32 pixels; a multiple of ``group_width`` / 2.
        blocks: the number of residual blocks in each stage.
        group_width: the number of channels in each group of the grouped convolutions.
        latent_dim: the length of the latent vector.

    Raises:
        UserError: the data are not images of a size that fits; a stage's channels make no whole groups.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt = 768,
        blocks: LayerCount = 2,
        group_width: PositiveInt = 16,
        latent_dim: PositiveInt = 64,
    ):
        super().__init__()
        maps, widths = _widths(spec, width, group_width)
        total = blocks * len(widths)
        self.spec = spec
        self.latent_dim = latent_dim
        self.embed = ConditionalLatent(spec.classes, latent_dim)
        if self.embed.embedding is not None:
            nn.init.normal_(self.embed.embedding.weight, std=spec.classes**-0.5)
        self.basis = nn.Parameter(torch.randn(widths[0], *maps.smallest))
        self.weights = _msr(nn.Linear(self.embed.features, widths[0], bias=False))
        self.layers = nn.Sequential()
        for i, after in enumerate(widths):
            if i:
                self.layers.extend([*_mixing(widths[i - 1], after), Upsample(saved=True)])
            self.layers.extend([Block(after, group_width, total) for _ in range(blocks)])
        self.layers.extend([_msr(nn.Conv2d(widths[-1], maps.channels, 1, bias=False)), nn.Tanh()])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        return self.layers(self.weights(self.embed(z, labels))[:, :, None, None] * self.basis)


class R3GANDiscriminator(nn.Module):
    """The generator's mirror image: stages of residual blocks between which the size halves, a 4 x 4 basis, a logit.

    With classes, the logit is the inner product of an embedding of the label and of a dense layer as wide as the 4 x 4
    map. The source is that of the generator, which this network equals.

    Args:
        spec: the description of the data.
        width: the number of channels of maps of up to 32 pixels; a multiple of ``group_width`` / 2.
        blocks: the number of residual blocks in each stage.
        group_width: the number of channels in each group of the grouped convolutions.

    Raises:
        UserError: the data are not images of a size that fits; a stage's channels make no whole groups.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 768, blocks: LayerCount = 2, group_width: PositiveInt = 16):
        super().__init__()
        maps, widths = _widths(spec, width, group_width)
        widths.reverse()
        total = blocks * len(widths)
        self.spec = spec
        self.layers = nn.Sequential(_msr(nn.Conv2d(maps.channels, widths[0], 1, bias=False)))
        for i, after in enumerate(widths):
            if i:
                self.layers.extend([Blur(padding=1, stride=2, saved=True), *_mixing(widths[i - 1], after)])
            self.layers.extend([Block(after, group_width, total) for _ in range(blocks)])
        basis = _msr(nn.Conv2d(widths[-1], widths[-1], maps.smallest, groups=widths[-1], bias=False))
        self.layers.extend([basis, nn.Flatten()])
        self.logit = LabelProduct(widths[-1], spec.classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        return self.logit(self.layers(x), labels)


class Block(nn.Module):
    """``x + W_3 a(W_2 a(W_1 x + b_1) + b_2)`` with a leaky ReLU ``a``.

    ``W_1`` is a 1 x 1 convolution to twice the channels, ``W_2`` a grouped 3 x 3 convolution, and ``W_3`` a 1 x 1
    convolution back. The initialisation replaces normalisation, as in fix-up (Zhang et al., ICLR 2019): ``W_3`` is 0,
    and ``W_1`` and ``W_2`` have He's initialisation times ``L^(-1/4)`` for ``L`` blocks in the network.

    Args:
        channels: the number of channels of the feature map.
        group_width: the number of channels in each group.
        total: the number L of blocks in the network.
    """

    def __init__(self, channels: int, group_width: int, total: int):
        super().__init__()
        inner = 2 * channels
        gain = nn.init.calculate_gain("leaky_relu", _SLOPE) * total**-0.25
        self.layers = nn.Sequential(
            _msr(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(_SLOPE),
            _msr(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner // group_width), gain),
            nn.LeakyReLU(_SLOPE),
            _msr(nn.Conv2d(inner, channels, 1, bias=False), 0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _widths(spec: DataSpec, width: int, group_width: int) -> tuple[Pyramid, list[int]]:
    """The feature maps from the smallest up to the image's size, and the numbers of their channels."""
    maps = pyramid(spec, "r3gan", _DOUBLINGS)
    widths = [width * 32 // max(32, 4 << i) for i in range(maps.doublings + 1)]
    for w in widths:
        if not w or 2 * w % group_width:
            raise UserError(
                f"model r3gan: width: twice the channels of a stage, {2 * w}, must be a multiple of group_width = "
                f"{group_width}; choose another width"
            )
    return maps, widths


def _mixing(before: int, after: int) -> list[nn.Module]:
    return [] if before == after else [_msr(nn.Conv2d(before, after, 1, bias=False))]


def _msr(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer, with weights drawn from ``N(0, gain^2 / fan_in)`` and biases set to 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
