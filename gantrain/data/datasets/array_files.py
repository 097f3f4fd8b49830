"""Samples in a file of numpy's or torch's."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from gantrain.config.base import nearest, one_of
from gantrain.config.paths import not_found
from gantrain.config.types import shown
from gantrain.data.adopted import AdoptedDataSet, as_data_set
from gantrain.data.dataset import Samples
from gantrain.data.datasets.splits import training_part
from gantrain.data.storage import amount, available
from gantrain.errors import UserError, is_out_of_memory
from gantrain.utils.io import open_regular

if TYPE_CHECKING:
    from gantrain.config.types import FilePath, Fraction, NonNegativeInt

# The names in an archive of arrays under which samples and labels are found without being told, the usual ones first.
_SAMPLES = ("x", "images", "image", "data", "samples", "x_train", "train_images", "arr_0")
_LABELS = ("y", "labels", "label", "targets", "target", "y_train", "train_labels", "arr_1")


class ArrayFiles(AdoptedDataSet):
    """Images or vectors in an array file: .npy or .npz of numpy, .pt or .pth of torch.

    Images are uint8 from 0 to 255, or floats in [0, 1] or [-1, 1], with the shape (n, height, width), (n, channels,
    height, width) or (n, height, width, channels); vectors are floats (n, features). Nothing in a file is executed:
    pickled objects are refused. A .npy file that does not fit into memory is read from disk as batches need it.

    Args:
        path: the file of the samples. A .npz file, or a mapping in a .pt file, may hold several arrays.
        labels: the file of the labels, (n,) whole numbers from 0. By default those are taken that lie in the file of
            the samples; without any there are no classes.
        samples_key: the name of the samples in a file of several arrays. By default x, images, data or the like.
        labels_key: the name of the labels in a file of several arrays. By default y, labels, targets or the like.
        classes: the number of classes. Default null: one more than the largest label.
        split: "train" or "validation", which is held out of the samples.
        validation: the fraction of the samples that is held out for validation, the same samples in every run.
        label_noise: the probability that a label of the training part is replaced by a random class; validation
            labels stay clean.
        noise_seed: the seed of the label noise.

    Raises:
        UserError: a file is missing, damaged or of another kind, or its content is nothing that gantrain could train
            on.
    """

    def __init__(
        self,
        path: FilePath,
        labels: FilePath | None = None,
        samples_key: str | None = None,
        labels_key: str | None = None,
        classes: NonNegativeInt | None = None,
        split: Literal["train", "validation"] = "train",
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        content = _read(path, "data.path")
        numbers: Any = None
        if isinstance(content, dict):
            found = _chosen(content, samples_key, _SAMPLES, path, "samples_key")
            numbers = None if labels is not None else _chosen(content, labels_key, _LABELS, path, "labels_key")
            if found is None:
                raise UserError(
                    f"data.path: {path} holds {', '.join(map(str, content))}; say with data.samples_key which of them "
                    "are the samples"
                )
            content = found
        elif isinstance(content, list | tuple) and len(content) == 2:
            content, numbers = content
        if not isinstance(content, Tensor | np.ndarray):
            raise UserError(f"data.path: {path} holds {shown(content)}, expected an array or a tensor of samples")
        if not content.ndim:
            raise UserError(f"data.path: {path} holds a single number, expected an array of samples")
        if labels is not None:
            numbers = _read(labels, "data.labels")
            if isinstance(numbers, dict):
                numbers = _chosen(numbers, labels_key, _LABELS, labels, "labels_key")
        try:
            data = as_data_set(content, numbers, classes or None)
        except UserError as error:
            what = str(error).removeprefix("data: ")
            of_labels = labels is not None and what.startswith("labels: ")
            where = f"data.labels: {labels}" if of_labels else f"data.path: {path}"
            raise UserError(f"{where}: {what.removeprefix('labels: ') if of_labels else what}") from None
        self.form = data.form  # type: ignore[attr-defined]

        def part(samples: Samples) -> tuple[Samples, Tensor | None]:
            return training_part(samples, data.labels, data.spec.classes, split, validation, label_noise, noise_seed)

        self.samples, self.labels = part(data.samples)
        self.in_files = None if data.in_files is None else part(data.in_files)[0]
        self.spec = data.spec


def _read(path: str, key: str) -> Any:
    """The content of an array file: an array, a tensor, or a mapping or pair of some."""
    place = Path(path)
    if place.is_dir():
        raise UserError(f"{key}: {path} is a folder, expected a file; for a folder of images use image_folder")
    try:
        with open_regular(place) as file:
            start = file.read(6)
    except FileNotFoundError:
        raise not_found(key, path) from None
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read: {error.strerror}") from error
    suffix = place.suffix.lower()
    try:
        if suffix == ".npy":
            if start != b"\x93NUMPY":
                raise ValueError("it does not begin like one")
            return np.load(place, mmap_mode="r", allow_pickle=False)
        if suffix in (".npz", ".pt", ".pth") and zipfile.is_zipfile(place):
            _require_memory(place, key)
        if suffix == ".npz":
            if not start.startswith(b"PK"):
                raise ValueError("it does not begin like one")
            with np.load(place, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if suffix in (".pt", ".pth"):
            return torch.load(place, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # damaged files lead to errors of many classes
        if is_out_of_memory(error):
            raise
        if any(word in str(error) for word in ("llow_pickle", "Python objects", "weights_only")):
            raise UserError(
                f"{key}: {path} holds Python objects, and loading them could execute code; save an array of numbers "
                "or a tensor"
            ) from error
        raise UserError(
            f"{key}: {path} is damaged, or no file of its kind ({' '.join(str(error).split())[:200]})"
        ) from error
    raise UserError(f"{key}: {path}: expected a file whose name ends in .npy, .npz, .pt or .pth")


def _require_memory(path: Path, key: str) -> None:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > available():
        raise UserError(
            f"{key}: {path} unpacks to {amount(size)}, and {amount(available())} of memory are left; save the samples "
            "as .npy, which is read from disk"
        )


def _chosen(content: dict[str, Any], key: str | None, usual: tuple[str, ...], path: str, option: str) -> Any:
    """The array of a file that a key names; by default that with a usual name, or the only one there is."""
    if key is not None:
        if key not in content:
            raise UserError(
                f"data.{option}: expected {one_of(map(str, content))}, which {path} holds, got {key!r}"
                f"{nearest(key, map(str, content))}"
            )
        return content[key]
    if len(content) == 1 and (usual is _SAMPLES or option == "labels_key" and next(iter(content)) in usual):
        return next(iter(content.values()))
    return next((content[name] for name in usual if name in content), None)
