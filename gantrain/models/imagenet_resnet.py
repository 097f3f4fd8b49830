"""The residual networks of He et al. for ImageNet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from gantrain.config.paths import not_found
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.layers.checks import labelled_images
from gantrain.utils.tensor_files import state_dict

if TYPE_CHECKING:
    from gantrain.config.types import FilePath

# Mean and standard deviation of the channels of ImageNet's images in [0, 1], as torchvision's networks expect them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageNetResNet(nn.Module):
    """torchvision's ResNet: a 7 x 7 convolution, max pooling, four stages of residual blocks, and a dense layer.

    From depth 50 on, blocks are bottlenecks whose 3 x 3 convolution has the stride (ResNet-50 v1.5). Convolutions have
    He's initialisation (fan_out). The network itself standardises its input by the mean and the deviation of ImageNet,
    so that ``game.standardise`` is not needed.
    Source: He et al., Deep residual learning for image recognition, CVPR 2016, table 1.

    Args:
        spec: the description of the data.
        depth: the number of layers with weights.
        weights: a file of weights that torchvision publishes for this depth, such as resnet50-0676ba61.pth of
            https://download.pytorch.org/models. The dense layer is left out if it has another number of classes.
            Default null: the initial weights.

    Raises:
        UserError: the data are not labelled colour images of at least 32 x 32 pixels; the file is missing, or holds
            other tensors.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: DataSpec, depth: Literal[18, 34, 50, 101, 152] = 50, weights: FilePath | None = None):
        super().__init__()
        from torchvision import models  # takes a second to import

        if labelled_images(spec, "imagenet_resnet", least=32) != 3:
            raise UserError(
                f"model imagenet_resnet: expected 3 channels, got data of shape {spec.shape}; set data.channels"
            )
        self.spec = spec
        # Samples are in [-1, 1].
        self.register_buffer("mean", 2 * torch.tensor(_MEAN).view(3, 1, 1) - 1)
        self.register_buffer("std", 2 * torch.tensor(_STD).view(3, 1, 1))
        self.network: nn.Module = getattr(models, f"resnet{depth}")(num_classes=spec.classes)
        if weights is not None:
            self._read(Path(weights), depth)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 3, height, width)`` to logits ``(n, classes)``."""
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits

    def _read(self, path: Path, depth: int) -> None:
        """Take the weights of a file, but for a dense layer with another number of classes."""
        where = "model imagenet_resnet: weights"
        if not path.is_file():
            raise not_found(where, path)
        found = state_dict(path.read_bytes(), f"{where}: {path}")
        own = self.network.state_dict()
        for name in ("fc.weight", "fc.bias"):
            if name in found and found[name].shape != own[name].shape:
                found[name] = own[name]
        if found.keys() != own.keys() or any(found[name].shape != own[name].shape for name in own):
            raise UserError(f"{where}: {path} holds other tensors than those of torchvision's resnet{depth}")
        self.network.load_state_dict(found)
