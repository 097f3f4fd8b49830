"""The flowers and the pets of Oxford, which torchvision can download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gantrain.data.datasets import published
from gantrain.data.datasets.image_geometry import geometry_of
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.label_noise import noisy_labels
from gantrain.data.datasets.splits import training_part
from gantrain.data.readers.containers import Folder
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import Geometry

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, Fraction, ImageSize, NonNegativeInt, PositiveFloat, PositiveInt

_FLOWERS = (
    "a folder flowers-102 with the folder jpg that 102flowers.tgz holds, imagelabels.mat and setid.mat of "
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
)
_PETS = (
    "a folder oxford-iiit-pet with the folders images and annotations that images.tar.gz and annotations.tar.gz of "
    "https://www.robots.ox.ac.uk/~vgg/data/pets hold"
)


class Flowers102(ImageSet):
    """Oxford flowers: 1020 + 1020 + 6149 colour photographs of all sizes, 102 species.

    Source: Nilsback and Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008.

    Args:
        size: the height and width in pixels, one number for both or a pair ``[height, width]``: the largest part of
            this shape around the centre is scaled to it.
        split: "train", "validation", "trainval" for both together, on which the results of papers are usually trained,
            or "test".
        root: the folder that holds the folder flowers-102, or into which it is downloaded.
        download: whether the data set is downloaded if it is not in ``root``.
        label_noise: the probability that a label of the parts train and trainval is replaced by a random class.
        noise_seed: the seed of the label noise.
        resize: the length in pixels to which the shorter side is scaled before ``size`` is cut out around the centre,
            such as 256 for a size of 224. By default the largest part of the shape is scaled to ``size``.
        random_resized_crop: the range of the share of an image's area that training sees of it, such as [0.08, 1]: a
            random window, drawn anew whenever the image comes up in a batch and scaled to ``size``. Evaluations see
            what ``size`` and ``resize`` say. The images stay in their files. Default null: no random windows.
        crop_ratio: the range of the ratio of width to height of such a window, whose logarithm is uniform.

    Raises:
        UserError: the data set is not in ``root`` and cannot be downloaded. When the samples are read: an image is
            missing or damaged.

    Attributes:
        class_names: the names of the species, in the order of the labels.
    """

    def __init__(
        self,
        size: ImageSize,
        split: Literal["train", "validation", "trainval", "test"] = "train",
        root: FolderPath = "data",
        download: bool = True,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
        resize: PositiveInt | None = None,
        random_resized_crop: tuple[Fraction, Fraction] | None = None,
        crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.3333333333333333),
    ):
        geometry = geometry_of(size, resize, random_resized_crop, crop_ratio)
        parts = {"validation": ("val",), "trainval": ("train", "val")}.get(split, (split,))
        found = [published.find("Flowers102", Path(root), download, _FLOWERS, "flowers-102", split=p) for p in parts]
        self.class_names = tuple(found[0].classes)
        files = [file for each in found for file in each._image_files]
        labels: Tensor | None = torch.tensor([label for each in found for label in each._labels])
        if split in ("train", "trainval"):
            labels = noisy_labels(labels, len(self.class_names), label_noise, noise_seed)
        super().__init__(_samples(files, geometry), labels, len(self.class_names))


class OxfordIIITPet(ImageSet):
    """Oxford-IIIT pets: 3680 + 3669 colour photographs of all sizes, 37 breeds of cats and dogs.

    Source: Parkhi et al., Cats and dogs, CVPR 2012.

    Args:
        size: the height and width in pixels, one number for both or a pair ``[height, width]``: the largest part of
            this shape around the centre is scaled to it.
        split: "train", which is the official part trainval, "validation" (held out of it) or "test".
        root: the folder that holds the folder oxford-iiit-pet, or into which it is downloaded.
        download: whether the data set is downloaded if it is not in ``root``.
        validation: the fraction of the training part that is held out for validation, the same samples in every run.
        label_noise: the probability that a label of the training part is replaced by a random class; validation and
            test labels stay clean.
        noise_seed: the seed of the label noise.
        resize: the length in pixels to which the shorter side is scaled before ``size`` is cut out around the centre,
            such as 256 for a size of 224. By default the largest part of the shape is scaled to ``size``.
        random_resized_crop: the range of the share of an image's area that training sees of it, such as [0.08, 1]: a
            random window, drawn anew whenever the image comes up in a batch and scaled to ``size``. Evaluations see
            what ``size`` and ``resize`` say. The images stay in their files. Default null: no random windows.
        crop_ratio: the range of the ratio of width to height of such a window, whose logarithm is uniform.

    Raises:
        UserError: the data set is not in ``root`` and cannot be downloaded, or the part is empty. When the samples are
            read: an image is missing or damaged.

    Attributes:
        class_names: the names of the breeds, in the order of the labels.
    """

    def __init__(
        self,
        size: ImageSize,
        split: Literal["train", "validation", "test"] = "train",
        root: FolderPath = "data",
        download: bool = True,
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
        resize: PositiveInt | None = None,
        random_resized_crop: tuple[Fraction, Fraction] | None = None,
        crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.3333333333333333),
    ):
        geometry = geometry_of(size, resize, random_resized_crop, crop_ratio)
        part = "test" if split == "test" else "trainval"
        found = published.find("OxfordIIITPet", Path(root), download, _PETS, "oxford-iiit-pet", split=part)
        self.class_names = tuple(found.classes)
        samples = _samples(found._images, geometry)
        labels: Tensor | None = torch.tensor(found._labels)
        classes = len(self.class_names)
        if split != "test":
            samples, labels = training_part(samples, labels, classes, split, validation, label_noise, noise_seed)
        super().__init__(samples, labels, classes)


def _samples(files: list[Any], geometry: Geometry) -> FileSamples:
    """The images in some files of one folder."""
    return FileSamples(Folder(Path(files[0]).parent), [Path(f).name for f in files], 3, geometry, key="data.root")
