"""The discriminator of StyleGAN2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gantrain.compute.precision import full_precision, upcast
from gantrain.data.spec import DataSpec
from gantrain.models.layers.equalised import EqualisedConv2d, EqualisedLinear, activated
from gantrain.models.layers.minibatch_stddev import MinibatchStddev
from gantrain.models.stylegan2.mapping import Mapping
from gantrain.models.stylegan2.sizes import feature_maps, in_half

if TYPE_CHECKING:
    from gantrain.config.types import LayerCount, PositiveFloat, PositiveInt


class StyleGAN2Discriminator(nn.Module):
    """Residual blocks that halve the size down to 4 x 4, minibatch standard deviation, a convolution and a logit.

    With classes, the label enters by projection: the logit is the inner product of the features with a style of the
    label, which a mapping network makes, divided by the root of their length. Because of the minibatch standard
    deviation the logit of a sample depends on its neighbours in the batch, also in evaluation mode. The source is that
    of the generator.

    Args:
        spec: the description of the data.
        width: the number of channels of feature maps of up to ``plateau`` pixels. That of larger maps halves with each
            doubling of the size.
        residual: whether blocks have a bypass; the paper's settings for CIFAR-10 have none.
        group: the number of samples whose standard deviation is taken together. Groups are consecutive samples of the
            share of the batch that a process evaluates at a time: where that is a multiple of ``group``, the number of
            processes and micro-batches does not matter. Null leaves the minibatch standard deviation out.
        mapping_layers: the number of dense layers from a label to its style. Their learning rate is multiplied by 0.01.
        plateau: the size in pixels up to which feature maps have ``width`` channels; null (the default) for 64 for
            images of at least 512 pixels, and 32 for smaller ones.
        clamp: the largest absolute value of an activation, which float16 needs; null for no limit.

    Raises:
        UserError: the data are not square images of a size that is a power of two from 8 to 4096.
    """

    def __init__(
        self,
        spec: DataSpec,
        width: PositiveInt = 512,
        residual: bool = True,
        group: PositiveInt | None = 4,
        mapping_layers: LayerCount = 8,
        plateau: PositiveInt | None = None,
        clamp: PositiveFloat | None = 256.0,
    ):
        super().__init__()
        channels, sizes, widths = feature_maps(spec, width, plateau)
        last = widths[0]
        self.spec = spec
        self.sizes = sizes[:0:-1]
        self.clamp = clamp
        self.from_image = EqualisedConv2d(channels, widths[-1], 1)
        self.blocks = nn.ModuleList(
            Block(widths[i], widths[i - 1], residual, clamp) for i in reversed(range(1, len(sizes)))
        )
        self.stddev = None if group is None else MinibatchStddev(group)
        self.conv = EqualisedConv2d(last + (group is not None), last, 3)
        self.dense = EqualisedLinear(last * 16, last)
        self.mapping = Mapping(0, spec.classes, last, mapping_layers) if spec.classes else None
        self.logit = EqualisedLinear(last, last if spec.classes else 1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(n, channels, size, size)`` and ``(n,)`` to logits ``(n,)``."""
        x = activated(self.from_image(x), clamp=self.clamp)
        for size, block in zip(self.sizes, self.blocks, strict=True):
            if in_half(size, self.sizes[0]):
                x = block(x)
            else:
                with full_precision(x.device):
                    x = block(upcast(x))
        with full_precision(x.device):
            x = upcast(x)
            x = activated(self.conv(x if self.stddev is None else self.stddev(x)), clamp=self.clamp)
            x = self.logit(activated(self.dense(x.flatten(1))))
            if self.mapping is None:
                return x.squeeze(1)
            return (x * self.mapping(None, labels)).sum(dim=1) / math.sqrt(x.shape[1])


class Block(nn.Module):
    """Two convolutions of size 3, the second of which halves the size; with a bypass, their sum with it over sqrt 2.

    Args:
        before: the number of channels before and between the convolutions.
        after: the number of channels afterwards.
        residual: whether there is a bypass, a convolution of size 1 that halves the size.
        clamp: the largest absolute value of an activation; None for no limit.
    """

    def __init__(self, before: int, after: int, residual: bool, clamp: float | None):
        super().__init__()
        self.clamp = clamp
        self.conv0 = EqualisedConv2d(before, before, 3)
        self.conv1 = EqualisedConv2d(before, after, 3, halve=True)
        self.bypass = EqualisedConv2d(before, after, 1, bias=False, halve=True) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(activated(self.conv0(x), clamp=self.clamp))
        if self.bypass is None:
            return activated(h, clamp=self.clamp)
        gain = math.sqrt(0.5)
        return self.bypass(x) * gain + activated(h, gain, self.clamp)
