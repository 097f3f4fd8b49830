"""Image classifiers of the library transformers, fine-tuned or trained from scratch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gantrain.data.pretrained import load
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.huggingface.loading import config_of, network_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from gantrain.config.types import HubPath, ImageSize

_WHO = "model huggingface_images"
# How PIL numbers the ways to interpolate, of which torch has three.
_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
# The side of the images with which a processor is asked what it does.
_SIDE = 64


class HuggingFaceImageClassifier(nn.Module):
    """An image classifier of the transformers library, such as ViT, DeiT, Swin, BEiT, ConvNeXt, DINOv2 or ResNet.

    The network gets images as its image processor makes them (preprocessor_config.json beside the weights): the whole
    image is scaled to the processor's size, by its interpolation, and its values are shifted and scaled by the
    processor's mean and standard deviation. This is done on the device, so that small images stay small where they are
    kept; augmentations come before it. Grey images are repeated for a network of three channels.

    Weights are read from safetensors only, and a model that comes with code of its own is refused. A head that is
    missing in the checkpoint, or has another number of classes there, is initialised at random. All parameters are
    float32. Dropout is set by the model's config.json.

    Args:
        spec: the description of the data, which must be images.
        checkpoint: the folder of a model, or its name on the Hugging Face hub, such as
            ``google/vit-base-patch16-224-in21k``.
        pretrained: whether the weights of the checkpoint are used; false uses only its config.json and its image
            processor, and trains from scratch.
        size: the height and width to which images are scaled, one number for both or a pair ``[height, width]``. By
            default that of the image processor or, where ``mean`` and ``std`` are given, ``image_size`` of config.json.
            A network that can interpolate its position embeddings does so for another size than its own.
        mean: the mean of each channel of images in [0, 1], which is subtracted. By default that of the image processor,
            which is not read where ``mean`` and ``std`` are given.
        std: the standard deviation of each channel, by which images in [0, 1] are then divided.

    Attributes:
        network: the model of transformers.
        size: the height and width of the images that the network gets.

    Raises:
        UserError: the data are no images, or the model or its image processor cannot be loaded or does not fit them.
    """

    network: PreTrainedModel
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        spec: DataSpec,
        checkpoint: HubPath,
        pretrained: bool = True,
        size: ImageSize | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if not spec.image:
            kind = "texts; use huggingface" if spec.vocabulary else "none"
            raise UserError(f"{_WHO}: takes images, and these data are {kind}")
        config = config_of(_WHO, checkpoint, pretrained, spec.classes)
        own = _own_size(config)
        channels = getattr(_vision(config), "num_channels", 3)
        self.repeats = channels if spec.shape[0] == 1 else 1
        if spec.shape[0] * self.repeats != channels:
            raise UserError(
                f"{_WHO}: {checkpoint} takes images of {channels} channel{'s' * (channels > 1)}, and these data have "
                f"{spec.shape[0]}; set data.channels"
            )
        if mean is None and std is None:
            found = _of_processor(checkpoint, channels)
        elif mean is None or std is None:
            raise UserError(f"{_WHO}: expected both mean and std, or neither")
        else:
            found = _stated(mean, std, channels, own or spec.shape[1:])
        self.size: tuple[int, int] = found.size if size is None else (size, size) if isinstance(size, int) else size
        self.interpolation, self.order = found.interpolation, found.order
        # They follow from the files and keys that the network is built from, so checkpoints do not hold them.
        self.register_buffer("scale", found.scale.view(-1, 1, 1), persistent=False)
        self.register_buffer("shift", found.shift.view(-1, 1, 1), persistent=False)
        self.network = network_of(_WHO, "AutoModelForImageClassification", checkpoint, config, pretrained)
        accepted = inspect.signature(self.network.forward).parameters
        interpolates = "interpolate_pos_encoding" in accepted and self.size != own
        self.options = {"interpolate_pos_encoding": True} if interpolates else {}

    def forward(self, samples: Tensor) -> Tensor:
        """Images ``(n, channels, h, w)`` in [-1, 1] to logits ``(n, classes)``."""
        images = samples if self.repeats == 1 else samples.expand(-1, self.repeats, -1, -1)
        # Rows before columns, each without overshooting, as processors interpolate images of 8 bits.
        for size in ((images.shape[2], self.size[1]), self.size):
            if images.shape[2:] != size:
                smooth = self.interpolation != "nearest"
                images = interpolate(images, size, mode=self.interpolation, antialias=smooth).clamp(-1, 1)
        images = images if self.order is None else images[:, self.order]
        return self.network(**{self.network.main_input_name: images * self.scale + self.shift}, **self.options).logits


class _Processing(NamedTuple):
    """What is done to images in [-1, 1]: a size, an order of the channels, and ``scale x + shift`` of the values."""

    size: tuple[int, int]
    interpolation: str
    order: list[int] | None
    scale: Tensor
    shift: Tensor


def _vision(config: PretrainedConfig) -> PretrainedConfig:
    """The config of the network of images, also of a pair of networks such as CLIP."""
    return getattr(config, "vision_config", None) or config


def _own_size(config: PretrainedConfig) -> tuple[int, int] | None:
    """The size of images for which a network was made, if its config says one."""
    size = getattr(_vision(config), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None


def _stated(mean: Sequence[float], std: Sequence[float], channels: int, size: Any) -> _Processing:
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise UserError(f"{_WHO}: {name}: expected {channels} numbers, one for each channel, got {len(values)}")
    deviations, means = torch.tensor(std, dtype=torch.float32), torch.tensor(mean, dtype=torch.float32)
    if not (deviations > 0).all():
        raise UserError(f"{_WHO}: std: expected numbers above 0, got {list(std)}")
    return _Processing(tuple(size), "bicubic", None, 0.5 / deviations, (0.5 - means) / deviations)


def _of_processor(checkpoint: str, channels: int) -> _Processing:
    """What the image processor of a checkpoint does, which images of one colour show: black, and each channel alone."""
    files = "preprocessor_config.json; without it, say mean and std"
    processor = load(f"{_WHO}: checkpoint", "AutoImageProcessor", checkpoint, files)
    colours = torch.zeros(channels + 1, channels, _SIDE, _SIDE, dtype=torch.uint8)
    for channel in range(channels):
        colours[channel + 1, channel] = 255
    who = f"{_WHO}: {checkpoint}: its image processor {type(processor).__name__}"
    advice = "say size, mean and std instead"
    try:
        found = processor(list(colours), return_tensors="pt", input_data_format="channels_first")
        made = torch.as_tensor(found["pixel_values"]).float()
    except Exception as error:  # a processor for something else may fail in any way
        raise UserError(f"{who} cannot be used ({str(error).partition(chr(10))[0][:200]}); {advice}") from error
    if made.ndim != 4 or made.shape[:2] != (channels + 1, channels):
        shape = tuple(made.shape[1:])
        raise UserError(f"{who} makes {shape} of an image, expected ({channels}, height, width); {advice}")
    height, width = made.shape[2:]
    values = made[:, :, height // 2, width // 2]
    black, matrix = values[0], values[1:] - values[0]  # row: channel that comes in; column: that goes out
    order = matrix.abs().argmax(dim=0)
    scale = matrix.gather(0, order[None])[0]
    rebuilt = torch.zeros_like(matrix).scatter(0, order[None], scale[None])
    if not (scale > 0).all() or not torch.allclose(rebuilt, matrix, atol=1e-4):
        raise UserError(f"{who} does more than scale each channel; {advice}")
    kept = order.tolist() == list(range(channels))
    interpolation = _INTERPOLATIONS.get(getattr(processor, "resample", 3), "bicubic")
    return _Processing((height, width), interpolation, None if kept else order.tolist(), scale / 2, black + scale / 2)
