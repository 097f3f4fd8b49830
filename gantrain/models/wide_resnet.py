"""Wide residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import relu

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.checks import labelled_images
from gantrain.models.layers.initialisation import he_initialise_

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, LayerCount, PositiveInt


class WideResNet(nn.Module):
    """WRN-depth-width: pre-activation residual blocks with ``width`` times the channels of a ResNet.

    The layers are a 3 x 3 convolution to 16 channels; three groups of ``n`` blocks with 16, 32 and 64 times ``width``
    channels, where the first block of the second and of the third group halves the size; batch norm, ReLU, global
    average pooling and a dense layer.
    Source: Zagoruyko and Komodakis, Wide residual networks, BMVC 2016, table 1 and section 2.4. Convolutions have He's
    initialisation (fan_in) and the dense layer begins at 0, as in the published code of SAMPa (arXiv 2410.10683). What
    that code calls depth 28 has one block more in each group: it is depth 34 here.

    Args:
        spec: the description of the data.
        depth: the number of convolutions, ``6 n + 4``, which includes the one in the shortcut of each group.
        width: the widening factor.
        dropout: the probability of dropout between the two convolutions of a block.

    Raises:
        UserError: the data are not labelled images of at least 8 x 8 pixels; the depth is not ``6 n + 4``.
    """

    def __init__(self, spec: DataSpec, depth: LayerCount = 28, width: PositiveInt = 10, dropout: Fraction = 0.0):
        super().__init__()
        channels = labelled_images(spec, "wide_resnet", least=8)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise UserError(f"model wide_resnet: expected a depth of 6 n + 4, such as 16, 28 or 40, got {depth}")
        self.spec = spec
        self.stem = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        layers = []
        before = 16
        for group in range(3):
            for block in range(blocks):
                after = 16 * width * 2**group
                layers.append(Block(before, after, stride=2 if group and not block else 1, dropout=dropout))
                before = after
        self.groups = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(before)
        self.head = nn.Linear(before, spec.classes)
        he_initialise_(self, "fan_in")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, height, width)`` to logits ``(n, classes)``."""
        return self.head(relu(self.norm(self.groups(self.stem(x)))).mean(dim=(2, 3)))


class Block(nn.Module):
    """``x + F(x)``, where ``F`` is twice batch norm, ReLU and a 3 x 3 convolution, with dropout before the second.

    Where ``F`` changes the shape, the shortcut is a 1 x 1 convolution of ``F``'s first activation.
    """

    def __init__(self, before: int, after: int, stride: int, dropout: float):
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
        )
        same = before == after and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activation(x)
        return (x if self.shortcut is None else self.shortcut(activated)) + self.layers(activated)
