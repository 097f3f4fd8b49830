"""ImageNet, read from the published files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gantrain.config.paths import lacking
from gantrain.data.datasets.image_files import ImageFolder

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, Fraction, NonNegativeInt, PositiveFloat, PositiveInt


class ImageNet(ImageFolder):
    """ImageNet (ILSVRC 2012): 1281167 + 50000 colour images of all sizes, 1000 classes.

    The largest square around the centre is scaled to ``size``, unless ``resize`` says otherwise. Classes are numbered
    in the order of their WordNet identifiers, as in torchvision.

    Source: Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015.

    Args:
        size: the height and width in pixels.
        split: "train" or "validation", the official part called val.
        root: the folder that holds the unpacked folders train and val.
        on_error: "stop" raises an error at an image that cannot be read; "skip" leaves such images out and logs their
            number, for which all images are read once before the start.
        label_noise: the probability that a label of the training part is replaced by a random class.
        noise_seed: the seed of the label noise.
        resize: the length in pixels to which the shorter side is scaled before ``size`` is cut out around the centre,
            such as 256 for a size of 224. By default the largest part of the shape is scaled to ``size``.
        random_resized_crop: the range of the share of an image's area that training sees of it, such as [0.08, 1]: a
            random window, drawn anew whenever the image comes up in a batch and scaled to ``size``. Evaluations see
            what ``size`` and ``resize`` say. The images stay in their files. Default null: no random windows.
        crop_ratio: the range of the ratio of width to height of such a window, whose logarithm is uniform.

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
        resize: PositiveInt | None = None,
        random_resized_crop: tuple[Fraction, Fraction] | None = None,
        crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.3333333333333333),
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
        super().__init__(
            str(folder),
            split,
            size,
            on_error=on_error,
            label_noise=label_noise,
            noise_seed=noise_seed,
            resize=resize,
            random_resized_crop=random_resized_crop,
            crop_ratio=crop_ratio,
        )
