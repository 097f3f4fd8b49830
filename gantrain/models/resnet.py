"""The residual networks of He et al. for CIFAR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.checks import labelled_images
from gantrain.models.layers.initialisation import he_initialise_

if TYPE_CHECKING:
    from gantrain.config.types import LayerCount, PositiveInt


class ResNet(nn.Module):
    """A 3 x 3 convolution, three stages of ``n`` residual blocks, global average pooling and a dense layer.

    The stages have 1, 2 and 4 times ``width`` channels; the second and third begin by halving the size. ResNet-56 is
    ``n = 9``. All shortcuts are parameter-free (option A).
    Source: He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2. All layers have He's
    initialisation (fan_in), the dense one too, as in the published code of SAMPa (arXiv 2410.10683), whose network this
    equals but for the numbering of channels: it puts one half of a shortcut's zeros before the channels.

    Args:
        spec: the description of the data.
        depth: the number of layers with weights, ``6 n + 2``.
        width: the number of channels of the first stage.

    Raises:
        UserError: the data are not labelled images of at least 8 x 8 pixels; the depth is not ``6 n + 2``.
    """

    def __init__(self, spec: DataSpec, depth: LayerCount = 56, width: PositiveInt = 16):
        super().__init__()
        channels = labelled_images(spec, "resnet", least=8)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"model resnet: expected a depth of 6 n + 2, such as 20, 32, 44 or 56, got {depth}")
        self.spec = spec
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        layers = []
        before = width
        for stage in range(3):
            for block in range(blocks):
                after = width * 2**stage
                layers.append(Block(before, after, stride=2 if stage and not block else 1))
                before = after
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(before, spec.classes)
        he_initialise_(self, "fan_in")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to logits ``(n, classes)``."""
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))


class Block(nn.Module):
    """``relu(x + F(x))`` with two 3 x 3 convolutions in ``F``.

    Where ``F`` halves the size, the shortcut takes every second pixel and appends channels of zeros.
    """

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.stride = stride
        self.added = after - before
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return relu(shortcut + self.layers(x))
