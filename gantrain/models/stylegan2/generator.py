"""The generator of StyleGAN2."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from gantrain.compute.precision import full_precision, upcast
from gantrain.data.spec import DataSpec
from gantrain.models.layers import latent_numbers
from gantrain.models.layers.equalised import activated
from gantrain.models.layers.modulated import ModulatedConv2d
from gantrain.models.layers.resampling import Upsample
from gantrain.models.stylegan2.mapping import Mapping
from gantrain.models.stylegan2.sizes import feature_maps, in_half

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, LayerCount, PositiveFloat, PositiveInt

# The decay of the mean style. It is that of the published code, whose average moves several times in a step.
_W_DECAY = 0.995
# The noise of the layers: the keys of numbers that are functions of z, numbers that are the same for all z, or none.
Noise = Tensor | Literal["constant", "none"]
# The streams of random numbers: each layer has that of its own number, and style mixing has these.
_SECOND_LATENT, _CUT, _MIXED = 125, 126, 127


class StyleGAN2Generator(nn.Module):
    """A mapping network from ``z`` to a style ``w``, and a synthesis network of convolutions that ``w`` modulates.

    The synthesis begins with a learnt 4 x 4 map. At each size two 3 x 3 convolutions with demodulation follow, after
    each of which noise is added, one number for each pixel, times a learnt strength that is initially 0. A 1 x 1
    convolution without demodulation makes an image at each size, and the images are added up (the "skip" architecture).
    Weights have an equalised learning rate, and sizes are doubled with the filter (1, 3, 3, 1).

    In training noise and style mixing are functions of ``z``, so that the generator is one, too: the number of
    processes does not matter, and each pass on a batch evaluates the same function. In the published code all samples
    of a batch mix their styles at the same layer; here each sample has its own. In training the images have no bounds,
    as in the published code. In evaluation mode they are clipped to [-1, 1].

    Source: Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020; the code and settings are
    those of Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020.

    Args:
        spec: the description of the data.
        width: the number of channels of feature maps of up to ``plateau`` pixels. That of larger maps halves with each
            doubling of the size.
        latent_dim: the length of the latent vector.
        style_dim: the length of ``w``, and of the mapping network's layers; null (the default) for ``latent_dim``.
        mapping_layers: the number of dense layers of the mapping network. Their learning rate is multiplied by 0.01.
        style_mixing: the probability with which, in training, the layers behind a random one get the style of a second
            latent vector. 0.9 is the paper's; its settings for CIFAR-10 have 0.
        plateau: the size in pixels up to which feature maps have ``width`` channels; null (the default) for 64 for
            images of at least 512 pixels, and 32 for smaller ones.
        noise: the noise in evaluation mode. "constant" is the same for all samples; "random" is a function of ``z``, as
            in training, with which the paper measures FID; "none" adds none.
        clamp: the largest absolute value of an activation, which float16 needs; null for no limit.

    Attributes:
        w_avg: ``(style_dim,)``, the running mean of ``w``, towards which :meth:`truncated` moves.

    Raises:
        UserError: the data are not square images of a size that is a power of two from 8 to 4096.
    """

    once_per_step = ("w_avg",)
    w_avg: Tensor

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt = 512,
        latent_dim: PositiveInt = 512,
        style_dim: PositiveInt | None = None,
        mapping_layers: LayerCount = 8,
        style_mixing: Fraction = 0.9,
        plateau: PositiveInt | None = None,
        noise: Literal["constant", "random", "none"] = "constant",
        clamp: PositiveFloat | None = 256.0,
    ):
        super().__init__()
        channels, sizes, widths = feature_maps(spec, width, plateau)
        style_dim = style_dim or latent_dim
        self.spec = spec
        self.latent_dim = latent_dim
        self.style_mixing = style_mixing
        self.noise = noise
        self.layers = 2 * len(sizes)
        self.mapping = Mapping(latent_dim, spec.classes, style_dim, mapping_layers)
        self.start = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.blocks = nn.ModuleList(
            Block(widths[i - 1] if i else None, widths[i], channels, size, 2 * i - 1, style_dim, clamp, sizes[-1])
            for i, size in enumerate(sizes)
        )
        self.register_buffer("w_avg", torch.zeros(style_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, latent_dim)`` and ``(n,)`` to images ``(n, channels, size, size)``."""
        w = self.mapping(z, labels)
        if self.training:
            with torch.no_grad():
                self.w_avg.copy_(torch.lerp(w.mean(dim=0), self.w_avg, _W_DECAY))
        return self.synthesise(self._by_layer(w, z, labels), z)

    def styles(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, layers, style_dim)``: the styles of all layers, mixed in training. The mean style does not move."""
        return self._by_layer(self.mapping(z, labels), z, labels)

    def synthesise(self, w: Tensor, z: Tensor | None = None) -> Tensor:
        """The images of styles.

        Args:
            w: ``(n, layers, style_dim)``, as :meth:`styles` returns them.
            z: ``(n, latent_dim)``, of which the noise is a function where it is random; None takes constant noise
                there.

        Returns:
            ``(n, channels, size, size)``.
        """
        noise: Noise = "none"
        if self.training or self.noise != "none":
            random = z is not None and (self.training or self.noise == "random")
            noise = latent_numbers.keys(z) if random and z is not None else "constant"
        x: Tensor = self.start.expand(w.shape[0], *self.start.shape)  # not len(w), which export takes for a constant
        image: Any = None
        for block in self.blocks:
            with nullcontext() if block.in_half else full_precision(x.device):
                x, image = block(x, image, w, noise)
        return image if self.training else image.clamp(-1, 1)

    def truncated(self, z: Tensor, labels: Tensor | None, psi: float) -> Tensor:
        """Samples of ``w_avg + psi (w - w_avg)``: with a smaller ``psi`` they are more typical and less diverse.

        Args:
            z: ``(n, latent_dim)``, standard normal.
            labels: ``(n,)``, or None in a game that is not conditional.
            psi: 1 leaves the samples as they are, and 0 makes all of them from the mean style.
        """
        w = torch.lerp(self.w_avg, self.mapping(z, labels), psi)
        return self.synthesise(w[:, None].expand(-1, self.layers, -1), z)

    def _by_layer(self, w: Tensor, z: Tensor, labels: Tensor | None) -> Tensor:
        """``(n, style_dim)`` to the styles of the layers: equal in evaluation, and perhaps mixed in training."""
        every = w[:, None].expand(-1, self.layers, -1)
        if not self.training or not self.style_mixing:
            return every
        keys = latent_numbers.keys(z)
        second = latent_numbers.normal(keys, _SECOND_LATENT, self.latent_dim).to(z.dtype)
        cut = 1 + (latent_numbers.uniform(keys, _CUT, 1) * (self.layers - 1)).long().clamp(max=self.layers - 2)
        mixed = latent_numbers.uniform(keys, _MIXED, 1) < self.style_mixing
        behind = mixed & (torch.arange(self.layers, device=z.device) >= cut)
        return torch.where(behind[:, :, None], self.mapping(second, labels)[:, None], every)


class Block(nn.Module):
    """The layers of one size: a convolution that doubles the size of the map before, one more, and one to an image.

    Args:
        before: the number of channels of the map before; None for the first block, which has one convolution.
        after: the number of channels of the block's maps.
        channels: the number of channels of an image.
        size: the size of the block's maps in pixels.
        first: the number of the style of the first convolution; the others have those that follow.
        style_dim: the length of a style.
        clamp: the largest absolute value of an activation; None for no limit.
        largest: the size of the network's images.

    Attributes:
        in_half: whether the block is computed in half precision where autocast is on.
    """

    def __init__(
        self,
        before: int | None,
        after: int,
        channels: int,
        size: int,
        first: int,
        style_dim: int,
        clamp: float | None,
        largest: int,
    ):
        super().__init__()
        self.in_half = in_half(size, largest)
        self.first = first
        self.clamp = clamp
        self.conv0 = None if before is None else StyledConv(before, after, size, first, style_dim, clamp, double=True)
        self.conv1 = StyledConv(after, after, size, first + 1, style_dim, clamp)
        self.to_image = ModulatedConv2d(after, channels, 1, style_dim, demodulate=False)
        self.image_bias = nn.Parameter(torch.zeros(channels))
        self.upsample = None if before is None else Upsample()

    def forward(self, x: Tensor, image: Tensor | None, w: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """The map and the image of the size before, all styles and the noise to map and image."""
        if self.conv0 is not None:
            x = self.conv0(x, w[:, self.first], noise)
        x = self.conv1(x, w[:, self.first + 1], noise)
        y = self.to_image(x, w[:, self.first + 2])
        y = y + self.image_bias[:, None, None].to(y.dtype)
        y = upcast(y if self.clamp is None else y.clamp(-self.clamp, self.clamp))
        if self.upsample is None or image is None:
            return x, y
        with full_precision(x.device):  # small differences of images add up
            return x, self.upsample(image) + y


class StyledConv(nn.Module):
    """A modulated convolution of size 3, then noise, a bias and the activation.

    Args:
        before: the number of input channels.
        after: the number of output channels.
        size: the size of the output in pixels.
        number: the number of the layer, which is that of its noise.
        style_dim: the length of a style.
        clamp: the largest absolute value of an activation; None for no limit.
        double: whether the size of the map is doubled.
    """

    constant: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        size: int,
        number: int,
        style_dim: int,
        clamp: float | None,
        double: bool = False,
    ):
        super().__init__()
        self.size = size
        self.number = number
        self.clamp = clamp
        self.conv = ModulatedConv2d(before, after, 3, style_dim, double=double)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))
        # A tensor, since the integers of which it is computed cannot be exported to ONNX.
        constant = self._drawn(latent_numbers.keys(torch.zeros(1, 1)))
        self.register_buffer("constant", constant, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        x = self.conv(x, w)
        if isinstance(noise, Tensor) or noise == "constant":
            drawn = self._drawn(noise) if isinstance(noise, Tensor) else self.constant
            x = x + (drawn * self.noise_strength).to(x.dtype)
        return activated(x + self.bias[:, None, None].to(x.dtype), clamp=self.clamp)

    def _drawn(self, keys: Tensor) -> Tensor:
        """The noise of the keys, ``(n, 1, size, size)``."""
        return latent_numbers.normal(keys, self.number, self.size**2).view(-1, 1, self.size, self.size)
