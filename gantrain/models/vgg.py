"""The networks of Simonyan and Zisserman with batch norm, for images of 32 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import labelled_images
from gantrain.models.layers.initialisation import he_initialise_

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeInt, PositiveInt

# The number of convolutions in each of the five stages. A key is the paper's depth, which counts three dense layers.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """Five stages of 3 x 3 convolutions with batch norm and ReLU, max pooling after each, and one dense layer.

    The stages have 1, 2, 4, 8 and 8 times ``width`` channels. The last feature map, 1 x 1 for images of 32 pixels, is
    averaged over its positions.
    Source: Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015, table
    1, configurations A, B, D and E; batch norm is a later addition. Convolutions have He's initialisation (fan_out) and
    dense layers torch's own, as in the published code of SAMPa (arXiv 2410.10683). One dense layer, as is usual on
    CIFAR, replaces the three of the paper and of that code, which has ``hidden_layers: 2``.

    Args:
        spec: the description of the data.
        depth: 11, 13, 16 or 19, the paper's number of layers with weights.
        width: the number of channels of the first stage.
        hidden_layers: the number of dense layers before the last one. Each has ``8 width`` units and ReLU, and dropout
            with probability 0.5 before it. Default 0.

    Raises:
        UserError: the data are not labelled images of at least 32 x 32 pixels, which the five poolings need.
    """

    def __init__(
        self,
        spec: DataSpec,
        depth: Literal[11, 13, 16, 19] = 19,
        width: PositiveInt = 64,
        hidden_layers: NonNegativeInt = 0,
    ):
        super().__init__()
        before = labelled_images(spec, "vgg", least=32)
        self.spec = spec
        layers: list[nn.Module] = []
        for convolutions, factor in zip(_STAGES[depth], (1, 2, 4, 8, 8), strict=True):
            for _ in range(convolutions):
                after = width * factor
                # The convolution has no bias, since batch norm would subtract it again.
                layers += [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        hidden = [(nn.Dropout(0.5), nn.Linear(before, before), nn.ReLU()) for _ in range(hidden_layers)]
        self.hidden = nn.Sequential(*(layer for each in hidden for layer in each))
        self.head = nn.Linear(before, spec.classes)
        he_initialise_(self, "fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to logits ``(n, classes)``."""
        return self.head(self.hidden(self.layers(x).mean(dim=(2, 3))))
