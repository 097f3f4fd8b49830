"""Hugging Face data sets of images, read from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from gantrain.data.datasets.image_files import usable
from gantrain.data.datasets.image_geometry import geometry_of
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.splits import training_part
from gantrain.data.readers.arrow import (
    ArrowFolder,
    ArrowImages,
    class_numbers,
    features_of,
    image_column,
    label_column,
    row_of,
    values_of,
)
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.storage import amount, available
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, Fraction, ImageSize, NonNegativeInt, PositiveFloat, PositiveInt


class HuggingFaceImages(ImageSet):
    """Images of a Hugging Face data set: a folder written by save_to_disk, or a copy of a repository of Parquet files.

    Nothing is downloaded, and no code of the data set is executed. Needs pip install 'gantrain[huggingface]'. Images
    are decoded as those of image_folder are.

    Args:
        path: the folder.
        split: the part of the data set: train, validation, test, or another name that its files or folders have. Where
            there is no part validation, a fraction of the part train is taken.
        image: the column of the images. Default null: the only column of images.
        label: the column of the labels, which are class labels, whole numbers from 0, or text. Default null: the only
            column of class labels, or else a column called label, or else no labels.
        size: the height and width in pixels, one number for both or a pair ``[height, width]``: the largest part of
            this shape around the centre is scaled to it. By default images are left as they are, and all must have the
            same size.
        channels: 3 for colour, 1 for grey, 4 for colour with alpha (transparency); other images are converted.
        on_error: "stop" raises an error at an image that cannot be read or has another size than the others; "skip"
            leaves such images out and says their number, for which all images are read once before the start.
        validation: the fraction of the part train that is held out for validation, the same samples in every run;
            without effect where there is a part validation.
        label_noise: the probability that a label of the part train is replaced by a random class; other labels stay
            clean.
        noise_seed: the seed of the label noise.
        resize: the length in pixels to which the shorter side is scaled before ``size`` is cut out around the centre,
            such as 256 for a size of 224. By default the largest part of the shape is scaled to ``size``.
        random_resized_crop: the range of the share of an image's area that training sees of it, such as [0.08, 1]: a
            random window, drawn anew whenever the image comes up in a batch and scaled to ``size``. Evaluations see
            what ``size`` and ``resize`` say. The images stay in their files. Default null: no random windows.
        crop_ratio: the range of the ratio of width to height of such a window, whose logarithm is uniform.

    Raises:
        UserError: pyarrow is missing; the folder holds no such data set, part or column; a file is damaged. When the
            samples are read: an image cannot be read, or has another size than the others.

    Attributes:
        class_names: the names of the classes, in the order of the labels.
    """

    def __init__(
        self,
        path: FolderPath,
        split: str = "train",
        image: str | None = None,
        label: str | None = None,
        size: ImageSize | None = None,
        channels: Literal[1, 3, 4] = 3,
        on_error: Literal["stop", "skip"] = "stop",
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
        resize: PositiveInt | None = None,
        random_resized_crop: tuple[Fraction, Fraction] | None = None,
        crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.3333333333333333),
    ):
        geometry = geometry_of(size, resize, random_resized_crop, crop_ratio)
        folder = ArrowFolder(Path(path))
        part = "train" if split == "validation" and split not in folder.parts else split
        files = folder.files(part)
        column = image_column(files, image, folder.path)
        _require_memory(folder.path, sum(file.unpacked(column) for file in files))
        images = ArrowImages(folder.path, files, column)
        numbers: list[int] | None = None
        self.class_names: tuple[str, ...] = ()
        named = label_column(files, label, folder.path)
        if named is not None:
            values = values_of(files, named)
            everywhere = [value for name in folder.parts for value in values_of(folder.files(name), named)]
            feature = features_of(files).get(named, {})
            numbers, self.class_names = class_numbers(values, everywhere, feature, f"data.label: {named} of {path}")
        names, example = [entry.name for entry in images.entries()], None
        if on_error == "skip":
            names, example = usable(images, names, channels, geometry)
        samples = FileSamples(images, names, channels, geometry, example=example)
        labels = None if numbers is None else torch.tensor([numbers[row_of(name)] for name in names])
        classes = len(self.class_names)
        if part == "train":
            fraction = 0.0 if "validation" in folder.parts else validation
            samples, labels = training_part(samples, labels, classes, split, fraction, label_noise, noise_seed)
        super().__init__(samples, labels, classes)


def _require_memory(path: Path, size: int) -> None:
    if size > available():
        raise UserError(
            f"data.path: the Parquet files of {path} unpack to {amount(size)}, and {amount(available())} of memory are "
            "left; load them with the package datasets, and name the folder that its save_to_disk writes, which is "
            "read from disk"
        )
