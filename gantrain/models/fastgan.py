"""The networks of FastGAN, for few images; the shorter side has 32, 64, 128, 256, 512 or 1024 pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, embedding

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import from_four, pyramid
from gantrain.models.layers.conditioning import given
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveInt

_DOUBLINGS = from_four((32, 64, 128, 256, 512, 1024))
_SLOPE = 0.2

# The channels of feature maps by their size in pixels, in multiples of the width.
_GENERATOR = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 1 / 2, 512: 1 / 4, 1024: 1 / 8}
_LARGE = {512: 1 / 8, 256: 1 / 4, 128: 1 / 2, 64: 1, 32: 2, 16: 4, 8: 8}
_SMALL = {64: 1 / 2, 32: 1, 16: 2, 8: 4}
# The channels of the decoders' maps of 16, 32, 64 and 128 pixels.
_DECODER = (128, 64, 64, 32)


class FastGANGenerator(nn.Module):
    """A dense layer to a small map, then blocks that double the size: convolutions, batch norm and gated linear units.

    Every second block has two convolutions, to whose outputs noise is added. Maps of 64 to 512 pixels are multiplied,
    channel by channel, by a function of the map of a sixteenth of their size (skip-layer excitation); at 32 pixels the
    last map is, by a function of the first. Source: Liu et al., Towards faster and stabilized GAN training for
    high-fidelity few-shot image synthesis, ICLR 2021, sections 3.1 and 3.2, and the published code.

    What differs from the code: it makes a second image of 128 pixels for the discriminator, which here reduces the
    image itself; it has tanh at 1024 pixels alone, here at every size; its first layer is a transposed convolution,
    whose spectral norm is that of another matrix, which batch norm undoes up to a thousandth. Sizes below 256 pixels
    are ours, and so are classes, of which an embedding is concatenated to the latent vector.

    Args:
        spec: the description of the data.
        width: the number of channels of the map of 128 pixels; the map of 4 pixels has 16 times as many, and that of
            1024 an eighth.
        latent_dim: the length of the latent vector.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    def __init__(self, spec: DataSpec, width: PositiveInt = 64, latent_dim: PositiveInt = 256):
        super().__init__()
        maps = pyramid(spec, "fastgan", _DOUBLINGS)
        sizes = [4 << i for i in range(maps.doublings + 1)]
        widths = [_channels(_GENERATOR[size], width) for size in sizes]
        self.spec = spec
        self.latent_dim = latent_dim
        # This is a parameter and no embedding layer, since spectral norm would normalise such a layer's weight.
        self.embedding = nn.Parameter(torch.randn(spec.classes, latent_dim)) if spec.classes else None
        first = (2 * widths[0], *maps.smallest)
        dense = nn.Linear(latent_dim * (2 if spec.classes else 1), math.prod(first), bias=False)
        self.first = nn.Sequential(dense, nn.Unflatten(1, first), nn.BatchNorm2d(first[0]), nn.GLU(dim=1))
        self.blocks = nn.ModuleList()
        for i in range(maps.doublings):
            noisy = i % 2 == 0
            block = nn.Sequential(nn.Upsample(scale_factor=2), *_gated(widths[i], widths[i + 1], noisy))
            self.blocks.append(block.extend(_gated(widths[i + 1], widths[i + 1], noisy)) if noisy else block)
        # Each map of number i with an excitation is excited by that of number i - distance.
        self.distance = min(4, maps.doublings)
        self.excitations = nn.ModuleDict()
        for i in range(self.distance, len(sizes)):
            if sizes[i] <= 512:
                excitation = Excitation(widths[i - self.distance], widths[i], maps.smallest)
                self.excitations[str(i)] = excitation
        self.to_image = nn.Conv2d(widths[-1], maps.channels, 3, 1, 1, bias=False)
        _initialise(self)
        spectrally_normalised(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, height, width)`` in [-1, 1]."""
        if self.embedding is not None:
            z = torch.cat([z, embedding(given(labels), self.embedding)], dim=1)
        maps = [self.first(z)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
            _excite(maps, self.excitations, self.distance)
        return torch.tanh(self.to_image(maps[-1]))


class FastGANDiscriminator(nn.Module):
    """Two networks of strided convolutions, for the image and for a smaller copy of it; decoders that reconstruct it.

    Both networks reduce their image to a map of 8 pixels and give each place a logit. The logit of the image is the
    mean over all places of both. The smaller copy has 128 pixels, below 256 pixels half the size. In the first network
    maps of 32, 16 and 8 pixels are excited by maps that are 8 times as large, as in the generator; at 32 pixels the
    last map is, by the first. With classes, the inner product of an embedding with the mean of the last map is added to
    the logit. Batch norm couples the samples of a batch, so that a gradient penalty does not act on each sample alone.

    With ``reconstruction`` the discriminator's loss has a further term: decoders reconstruct the real image, as
    augmented, from the last map of each network, and a random quarter of the image from that quarter of the map of 16
    pixels. The term is the mean absolute difference from the reduced image or quarter, summed over the three.

    The source is that of the generator. What differs from the code: there the loss is taken of each place's logit, and
    the reconstructions are compared by LPIPS, which needs a trained network, where equation 3 of the paper has a norm
    of the difference. Sizes below 256 pixels and classes are ours.

    Args:
        spec: the description of the data.
        width: the unit of the numbers of channels: the last map of the first network has 8 times as many, that of the
            second 4 times, and larger maps have fewer.
        reconstruction: the weight of the reconstructions; 0 leaves the decoders out.

    Raises:
        UserError: the data are not images of a size that fits.
    """

    independent_samples = True

    def __init__(self, spec: DataSpec, width: PositiveInt = 64, reconstruction: NonNegativeFloat = 1.0):
        super().__init__()
        maps = pyramid(spec, "fastgan", _DOUBLINGS)
        self.spec = spec
        self.reconstruction = reconstruction
        sizes = [size for size in _LARGE if size <= min(maps.size, 256)]
        widths = [_channels(_LARGE[size], width) for size in sizes]
        self.stem = nn.Sequential(*_stem(maps.channels, maps.size, width))
        self.blocks = nn.ModuleList(Halving(before, after) for before, after in zip(widths, widths[1:], strict=False))
        self.distance = min(3, len(sizes) - 1)
        self.excitations = nn.ModuleDict()
        for i in range(self.distance, len(sizes)):
            self.excitations[str(i)] = Excitation(widths[i - self.distance], widths[i], maps.smallest)
        hidden = 2 * widths[-1]
        self.logit = nn.Sequential(*_normalised(nn.Conv2d(widths[-1], hidden, 1, bias=False)), _place(hidden))
        self.embedding = nn.Embedding(spec.classes, widths[-1]) if spec.classes else None
        # The smaller copy has every second (fourth, eighth) row and column of the image.
        self.every = max(2, maps.size // 128)
        narrow = [_channels(units, width) for size, units in _SMALL.items() if size < maps.size // self.every]
        layers = [nn.Conv2d(maps.channels, narrow[0], 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE)]
        for before, after in zip(narrow, narrow[1:], strict=False):
            layers += _normalised(nn.Conv2d(before, after, 4, 2, 1, bias=False))
        self.small = nn.Sequential(*layers)
        self.small_logit = _place(narrow[-1])
        self.decoders = nn.ModuleDict()
        if reconstruction:
            self.decoders["image"] = _decoder(widths[-1], maps.channels, len(narrow))
            self.decoders["small"] = _decoder(narrow[-1], maps.channels, len(narrow))
            self.decoders["quarter"] = _decoder(widths[-2], maps.channels, len(narrow))
        _initialise(self)
        spectrally_normalised(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, height, width)`` and ``(n,)`` to logits ``(n,)``."""
        last, small = self._maps(x)[-1], self.small(_reduced(x, self.every))
        logits = (self.logit(last).mean(dim=(1, 2, 3)) + self.small_logit(small).mean(dim=(1, 2, 3))) / 2
        if self.embedding is None:
            return logits
        return logits + (self.embedding(given(labels)) * last.mean(dim=(2, 3))).sum(dim=1)

    def auxiliary_loss(self, samples: Tensor, labels: Tensor | None) -> Tensor | None:
        """The term of the reconstructions of real images, as augmented; None without decoders."""
        if not self.reconstruction:
            return None
        maps, small = self._maps(samples), _reduced(samples, self.every)
        lower, right = torch.randint(2, (2,)).tolist()
        quarter = _quarter(samples, lower, right)
        pairs = [
            (self.decoders["image"](maps[-1]), small),
            (self.decoders["small"](self.small(small)), small),
            (self.decoders["quarter"](_quarter(maps[-2], lower, right)), _reduced(quarter, self.every // 2)),
        ]
        return self.reconstruction * torch.stack([(made - true).abs().mean() for made, true in pairs]).sum()

    def _maps(self, x: Tensor) -> list[Tensor]:
        """The feature maps of the first network, from the largest to that of 8 pixels."""
        maps = [self.stem(x)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
            _excite(maps, self.excitations, self.distance)
        return maps


class Noise(nn.Module):
    """``x + s n`` with noise ``n`` drawn for each place of a map, the same in all channels; ``s`` is initially 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * torch.randn_like(x[:, :1])


class Excitation(nn.Module):
    """A factor in (0, 1) for each channel of a map, from another map: ``sigmoid(W_2 swish(W_1 p))``.

    ``p`` is the other map, averaged over squares so that it has the network's smallest shape. Source: equation 1 of the
    paper and its code, which has swish where the paper has a leaky ReLU.

    Args:
        before: the number of channels of the other map.
        after: the number of channels of the map that is excited.
        shape: the height and the width of ``p``.
    """

    def __init__(self, before: int, after: int, shape: tuple[int, int]):
        super().__init__()
        self.height = shape[0]
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, shape, bias=False),
            nn.SiLU(),
            nn.Conv2d(after, after, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(n, before, height, width)`` to ``(n, after, 1, 1)``."""
        return self.layers(avg_pool2d(x, x.shape[2] // self.height))


class Halving(nn.Module):
    """The mean of two paths that halve the size: two convolutions, and an average with a 1 x 1 convolution."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(before, after, 4, 2, 1, bias=False)),
            *_normalised(nn.Conv2d(after, after, 3, 1, 1, bias=False)),
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), *_normalised(nn.Conv2d(before, after, 1, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + self.direct(x)) / 2


def _excite(maps: list[Tensor], excitations: nn.ModuleDict, distance: int) -> None:
    """Multiply the last map by its excitation by an earlier one, if it has one."""
    number = len(maps) - 1
    if str(number) in excitations:
        maps[-1] = maps[-1] * excitations[str(number)](maps[number - distance])


def _gated(before: int, after: int, noisy: bool) -> list[nn.Module]:
    noise = [Noise()] if noisy else []
    return [nn.Conv2d(before, 2 * after, 3, 1, 1, bias=False), *noise, nn.BatchNorm2d(2 * after), nn.GLU(dim=1)]


def _normalised(layer: nn.Conv2d) -> list[nn.Module]:
    return [layer, nn.BatchNorm2d(layer.out_channels), nn.LeakyReLU(_SLOPE)]


def _place(channels: int) -> nn.Conv2d:
    """The layer that gives each place of a map a logit."""
    return nn.Conv2d(channels, 1, 4, bias=False)


def _stem(channels: int, size: int, width: int) -> list[nn.Module]:
    """The layers from an image to the first map, which has at most 256 pixels."""
    after = _channels(_LARGE[min(size, 256)], width)
    if size <= 256:
        return [nn.Conv2d(channels, after, 3, 1, 1, bias=False), nn.LeakyReLU(_SLOPE)]
    if size == 512:
        return [nn.Conv2d(channels, after, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE)]
    before = _channels(_LARGE[512], width)
    first = [nn.Conv2d(channels, before, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE)]
    return [*first, *_normalised(nn.Conv2d(before, after, 4, 2, 1, bias=False))]


def _decoder(features: int, channels: int, doublings: int) -> nn.Sequential:
    """From a map of 8 pixels to an image."""
    widths = [features, *_DECODER][: doublings + 1]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Upsample(scale_factor=2), *_gated(before, after, noisy=False)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, 1, 1, bias=False), nn.Tanh())


def _reduced(x: Tensor, every: int) -> Tensor:
    """Every second row and column, or every fourth, and so on."""
    return x[:, :, ::every, ::every]


def _quarter(x: Tensor, lower: int, right: int) -> Tensor:
    height, width = x.shape[2] // 2, x.shape[3] // 2
    return x[:, :, lower * height : (lower + 1) * height, right * width : (right + 1) * width]


def _channels(units: float, width: int) -> int:
    return max(1, int(units * width))


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.normal_(layer.weight, std=0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, mean=1.0, std=0.02)
