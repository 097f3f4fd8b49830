"""Items as people's own data sets return them: what an item means, and how items become arrays of stored samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrain.config.types import shown
from gantrain.config.user_code import UserCode, name_of
from gantrain.data.readers.images import Geometry, converted
from gantrain.errors import UserError, is_out_of_memory

# The keys under which an item that is a mapping may hold the sample and the label, the usual ones first.
SAMPLE_KEYS = ("image", "img", "pixel_values", "x", "input", "data", "sample")
LABEL_KEYS = ("label", "labels", "y", "target", "targets", "class")
# Values may leave their range by so much, which is what rounding in single precision takes.
_ROUNDING = 1e-5

Channels = Literal[1, 3, 4]


@dataclass(frozen=True)
class Form:
    """The form that all items of a data set share, found from the first item.

    Attributes:
        shape: the shape of an item's array.
        layout: "vector", "grey" ``(h, w)``, "chw" or "hwc".
        numbers: the kind of the items' numbers: "float" of any precision, "uint8" or "bool".
        unit: whether samples are images of floats in [0, 1], where others are in [-1, 1].
    """

    shape: tuple[int, ...]
    layout: Literal["vector", "grey", "chw", "hwc"]
    numbers: str
    unit: bool = False

    @property
    def stored(self) -> torch.dtype:
        """The type in which samples are stored: uint8 for levels of images, float32 for all other numbers."""
        return torch.float32 if self.numbers == "float" else torch.uint8

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a sample: ``(channels, h, w)`` for images, ``(features,)`` for vectors."""
        if self.layout == "hwc":
            return (self.shape[2], *self.shape[:2])
        if self.layout == "grey":
            return (1, *self.shape)
        return self.shape or (1,)

    def samples(self, items: np.ndarray, rows: np.ndarray, who: str) -> Tensor:
        """Items ``(n, *shape)`` as stored samples ``(n, *sample_shape)``.

        Args:
            items: the items.
            rows: the number of each item, for messages.
            who: the data set, as messages call it.

        Raises:
            UserError: a number is not finite, or the value of an image is outside the range of the others.
        """
        items = np.moveaxis(items, 3, 1) if self.layout == "hwc" else items
        items = items.reshape(len(items), *self.sample_shape)
        if self.stored == torch.uint8:
            levels = items * np.uint8(255) if self.numbers == "bool" else items
            return torch.from_numpy(np.array(levels, np.uint8, order="C"))
        samples = torch.from_numpy(np.array(items, np.float32, order="C"))
        if len(samples):
            self._check(samples, rows, who)
        return samples

    def _check(self, samples: Tensor, rows: np.ndarray, who: str) -> None:
        low, high = torch.aminmax(samples.flatten(1), dim=1)
        wild = (~(low.isfinite() & high.isfinite())).nonzero().flatten()
        if len(wild):
            raise UserError(f"{who}: item {rows[int(wild[0])]} has a value that is not finite")
        if self.layout == "vector":
            return
        least = 0.0 if self.unit else -1.0
        outside = (low < least - _ROUNDING) | (high > 1 + _ROUNDING)
        found = outside.nonzero().flatten()
        if len(found):
            row = int(found[0])
            values = f"values from {low[row]:.4g} to {high[row]:.4g}"
            if self.unit and low[row] >= -1 - _ROUNDING and high[row] <= 1 + _ROUNDING:
                expected = "and others are in [0, 1]; scale all images alike"
            else:
                expected = (
                    "expected images of floats in [0, 1] or in [-1, 1], or of uint8 from 0 to 255; divide by the "
                    "largest value that there can be, and leave out a normalisation by mean and standard deviation"
                )
            raise UserError(f"{who}: item {rows[row]} is an image with {values}, {expected}")


def form_of(array: np.ndarray, who: str, planes: bool = False) -> Form:
    """The form of a data set whose first item is ``array``.

    Args:
        array: the item.
        who: the item, with which error messages begin.
        planes: whether an image is known to have its channels first.

    Raises:
        UserError: the item is nothing that gantrain could train on, or could be meant in two ways.
    """
    kind, shape = _kind(array), array.shape
    found = f"is {array.dtype} of shape {shape}"
    image = "images are uint8 levels from 0 to 255, or floats in [0, 1] or [-1, 1]"
    if array.ndim > 3:
        raise UserError(f"{who} {found}; expected one sample, an image (c, h, w) or (h, w, c) or a vector (features,)")
    if not array.size:
        raise UserError(f"{who} {found}; expected at least one number")
    if array.ndim < 2:
        if kind != "float":
            advice = "return floats, as networks are to see them, or an image (h, w), (c, h, w) or (h, w, c)"
            raise UserError(f"{who} {found}, a vector; {advice}")
        return Form(shape, "vector", "float")
    if kind not in ("float", "uint8", "bool"):
        raise UserError(f"{who} {found}; {image}; convert it to one of these")
    if array.ndim == 2:
        return Form(shape, "grey", kind)
    first, last = planes or shape[0] in (1, 3), not planes and shape[2] in (1, 3)
    if not first and not last:
        first, last = shape[0] == 4, shape[2] == 4
    if first and last:
        raise UserError(
            f"{who} {found}, and its channels may come first or last; return (h, w) for a grey image, or a PIL image"
        )
    if not first and not last:
        raise UserError(f"{who} {found}; expected an image (c, h, w) or (h, w, c) of 1, 3 or 4 channels")
    return Form(shape, "chw" if first else "hwc", kind)


class Items:
    """The items of a map-style data set, a sequence of samples, or an array of them.

    Args:
        source: an object with ``__len__`` and ``__getitem__``.
        size: the height and width to which images are scaled and cropped; None leaves them as they are.
        channels: the channels to which images are converted; None leaves them as they are.
        who: the data set, with which error messages begin.
    """

    def __init__(self, source: Any, size: int | tuple[int, int] | None, channels: Channels | None, who: str):
        self.source = source
        self.who = who
        self._size, self._channels = size, channels
        numbers = isinstance(source, Tensor) or (isinstance(source, np.ndarray) and source.dtype.kind != "O")
        self._whole = numbers and size is None and channels is None
        self._mode: tuple[int, str] | None = None
        self._planes = False

    def __len__(self) -> int:
        return len(self.source)

    def first(self) -> tuple[Form, bool]:
        """The form of the first item, and whether the item has a label.

        Raises:
            UserError: the item cannot be read, or means nothing.
        """
        value, label = self._item(0)
        return form_of(self._array(0, value), f"{self.who}: item 0", self._planes), label is not None

    def read(self, rows: np.ndarray, form: Form, labelled: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Items ``(n, *form.shape)`` and their labels ``(n,)`` int64, or None without labels.

        Raises:
            UserError: an item cannot be read, or differs from the first item in kind.
        """
        if self._whole:
            chosen = self.source[torch.from_numpy(rows) if isinstance(self.source, Tensor) else rows]
            return _of_numbers(chosen), None
        arrays, labels = [], []
        for row in rows.tolist():
            value, label = self._item(row)
            array = self._array(row, value)
            if array.shape != form.shape:
                raise UserError(
                    f"{self.who}: item {row} has the shape {array.shape}, and item 0 {form.shape}; make all items of "
                    "one size where they are made, or give as_data_set a size"
                )
            if _kind(array) != form.numbers:
                raise UserError(
                    f"{self.who}: item {row} is {array.dtype}, and item 0 {form.numbers}; make all of one type"
                )
            if (label is not None) != labelled:
                has, other = ("a", "none") if label is not None else ("no", "one")
                raise UserError(f"{self.who}: item {row} has {has} label, and item 0 has {other}; make them agree")
            arrays.append(array)
            labels.append(label)
        items = np.stack(arrays) if arrays else np.empty((0, *form.shape), np.float32)
        return items, np.array(labels, np.int64) if labelled else None

    def _item(self, row: int) -> tuple[Any, int | None]:
        """The sample and the label of an item."""
        try:
            with UserCode(f"data: item {row}", self.source):
                item = self.source[row]
        except UserError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"data: item {row}: {name_of(self.source)} raised {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        return self._parted(row, item)

    def _parted(self, row: int, item: Any) -> tuple[Any, int | None]:
        who = f"{self.who}: item {row}"
        if isinstance(item, Mapping):
            value = next((key for key in SAMPLE_KEYS if key in item), None)
            if value is None:
                keys = ", ".join(map(str, item)) or "none"
                raise UserError(f"{who} has the keys {keys}; expected the sample under one of {', '.join(SAMPLE_KEYS)}")
            label = next((key for key in LABEL_KEYS if key in item), None)
            return item[value], None if label is None else label_of(item[label], who)
        if not isinstance(item, tuple | list):
            return item, None
        if not 1 <= len(item) <= 2 or isinstance(item[0], int | float | complex):
            raise UserError(
                f"{who} is a {type(item).__name__} of {len(item)}, expected a sample or a pair (sample, label); make a "
                "sample of numbers an array or a tensor"
            )
        return item[0], label_of(item[1], who) if len(item) == 2 else None

    def _array(self, row: int, value: Any) -> np.ndarray:
        """A sample as an array; an image of Pillow's, or one that is scaled, as uint8 ``(channels, h, w)``."""
        who = f"{self.who}: item {row}"
        if not isinstance(value, Image.Image):
            array = _numpy(value)
            if array is None:
                advice = "; for paths of files there is image_folder" if isinstance(value, str) else ""
                raise UserError(
                    f"{who} is {shown(value)} ({type(value).__name__}), expected a tensor, an array or a PIL image"
                    f"{advice}"
                )
            if self._size is None and self._channels is None:
                return array
            value = _picture(array, who)
        channels = self._channels
        if channels is None:
            channels = 1 if value.mode in ("1", "L", "LA", "La") or value.mode.startswith("I;16") else 3
            first_channels, mode = self._mode or (channels, value.mode)
            if channels != first_channels:
                raise UserError(
                    f"{who} is an image of mode {value.mode}, and item 0 is of mode {mode}; convert all alike, as with "
                    'image.convert("RGB")'
                )
            if row == 0:
                self._mode = channels, value.mode
        try:
            image = converted(value, channels, Geometry(self._size))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(f"{who}: the image cannot be converted ({' '.join(str(error).split())})") from error
        self._planes = True
        return image.transpose(2, 0, 1)


def label_of(value: Any, who: str) -> int | None:
    """The label of an item as a whole number; None stays None.

    Raises:
        UserError: the value is no whole number, or is negative.
    """
    if value is None:
        return None
    array = _numpy(value)
    if array is None or array.size != 1 or array.dtype.kind not in "iub":
        what = shown(value) if array is None or array.size == 1 else f"an array of shape {array.shape}"
        raise UserError(
            f"{who} has the label {what} ({type(value).__name__}), expected the number of a class, a whole number from "
            "0; return the sample alone if there are no classes"
        )
    label = int(array.reshape(()))
    if label < 0:
        raise UserError(
            f"{who} has the label {label}, expected the number of a class, from 0; return the sample alone if there "
            "are no classes"
        )
    return label


def _numpy(value: Any) -> np.ndarray | None:
    """A tensor, an array or a number as an array; None for anything else, and for sparse tensors."""
    dense = value.layout == torch.strided if isinstance(value, Tensor) else True
    return _of_numbers(value) if dense and isinstance(value, Tensor | np.ndarray | np.generic | int | float) else None


def _of_numbers(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _kind(array: np.ndarray) -> str:
    """The kind of an array's numbers: "float" whatever the precision, or the name of their type."""
    return "float" if array.dtype.kind == "f" else str(array.dtype)


def _picture(array: np.ndarray, who: str) -> Image.Image:
    """An image of Pillow's from an array of levels, to be scaled or converted."""
    if array.dtype != np.uint8:
        raise UserError(f"{who} is {array.dtype}, and only PIL images and uint8 arrays are scaled and converted")
    form = form_of(array, who)
    planes = form.samples(array[None], np.zeros(1, np.int64), who)[0].numpy() if form.layout != "vector" else array
    return Image.fromarray(planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0)))


def whole_numbers(values: Any, count: int) -> np.ndarray | None:
    """Labels ``(n,)`` int64 from a list, an array or a tensor of whole numbers; None if it is something else."""
    if isinstance(values, Tensor | np.ndarray):
        array = _numpy(values)
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        try:
            array = np.asarray([int(v) if isinstance(v, Tensor) and v.dim() == 0 else v for v in values])
        except (ValueError, TypeError):
            return None
    else:
        return None
    if array is None or array.dtype.kind not in "iub" or array.size != count or len(array) != count:
        return None
    return array.reshape(-1).astype(np.int64)
