"""ImageNet, read from the published files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gantrain.config.paths import lacking
from gantrain.data.datasets.image_files import ImageFolder

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, Fraction, NonNegativeInt, PositiveInt


class ImageNet(ImageFolder):
    """ImageNet (ILSVRC 2012): 1281167 + 50000 colour images of all sizes, 1000 classes.

    The shorter side is scaled to ``size`` and the longer side is cropped around the centre. Classes are numbered in the
    order of their WordNet identifiers, as in torchvision.

    Source: Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015.

    Args:
        size: the height and width in pixels.
        split: "train" or "validation", the official part called val.
        root: the folder that holds the unpacked folders train and val.
        on_error: "stop" raises an error at an image that cannot be read; "skip" leaves such images out and logs their
            number, for which all images are read once before the start.
        label_noise: the probability that a label of the training part is replaced by a random class.
        noise_seed: the seed of the label noise.

    Raises:
        UserError: the folder of the part does not exist. When the samples are read: an image is damaged.
    """

    def __init__(
        self,
        size: PositiveInt,
        split: Literal["train", "validation"] = "train",
        root: FolderPath = "data/imagenet",
        on_error: Literal["stop", "skip"] = "stop",
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        folder = Path(root, "val" if split == "validation" else split)
        if not folder.is_dir():
            raise lacking(
                "data.root",
                folder.name,
                root,
                "put there its class folders (n01440764, …) of https://image-net.org; "
                f"torchvision.datasets.ImageNet({root!r}, {folder.name!r}) unpacks the archives",
            )
        super().__init__(str(folder), split, size, on_error=on_error, label_noise=label_noise, noise_seed=noise_seed)
