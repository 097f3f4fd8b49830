"""The modulated convolution, by which a style changes the channels of a feature map."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from gantrain.compute.precision import full_precision, in_float16
from gantrain.models.layers.equalised import EqualisedLinear
from gantrain.models.layers.resampling import Blur


class ModulatedConv2d(nn.Module):
    """A convolution whose input channels are scaled by a style ``s``, an affine function of ``w``.

    With demodulation the weight is ``W'_oik / sqrt(sum_ik W'_oik^2)``, where ``W'_oik = s_i W_oik``: input of
    uncorrelated channels of variance 1 becomes output of variance 1, whatever the style is. Without demodulation it is
    ``W'_oik / sqrt(fan_in)``. ``W`` is initially drawn from ``N(0, 1)``, and all styles are initially near 1.
    Source: Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, eqs. 1 and 3.

    Args:
        before: the number of input channels.
        after: the number of output channels.
        size: the size of the kernel, 1 or 3.
        style_dim: the length of ``w``.
        demodulate: whether the weight is demodulated.
        double: whether the size of the map is doubled, which takes a kernel of size 3.
    """

    def __init__(
        self, before: int, after: int, size: int, style_dim: int, demodulate: bool = True, double: bool = False
    ):
        super().__init__()
        self.affine = EqualisedLinear(style_dim, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, size, size))
        self.demodulate = demodulate
        self.gain = 1 / math.sqrt(before * size**2)
        self.padding = size // 2
        self.blur = Blur(padding=1, gain=4.0) if double else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``(n, before, height, width)`` and ``(n, style_dim)`` to ``(n, after, height, width)``, or twice the size."""
        # It is the input that is scaled, and not a weight for each sample: a convolution with one weight is faster.
        weight: Tensor = self.weight
        scale: Tensor | None = None
        half = in_float16(x.device)
        with full_precision(x.device):
            style = self.affine(w)
            if not self.demodulate:
                style = style * self.gain
            elif half:  # the factors cancel out, and keep the sums in the range of float16
                weight = weight * (self.gain / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
                style = style / style.abs().amax(dim=1, keepdim=True)
            if self.demodulate:
                scale = (style.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()
        x = x * style[:, :, None, None].to(x.dtype)
        weight = weight.to(x.dtype)
        if self.blur is None:
            x = conv2d(x, weight, padding=self.padding)
        else:
            x = self.blur(conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        return x if scale is None else x * scale[:, :, None, None].to(x.dtype)
