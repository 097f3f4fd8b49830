"""Data as people have them, made into a data set: torch's map-style data sets, lists of images, arrays and tensors."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence, Sized
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from gantrain.config.types import shown
from gantrain.config.user_code import UserCode, name_of
from gantrain.data import pixels
from gantrain.data.dataset import DataSet, require_data_set
from gantrain.data.items import Channels, Form, Items, whole_numbers
from gantrain.data.limit import limited
from gantrain.data.spec import DataSpec
from gantrain.data.storage import fits_in_memory
from gantrain.errors import Notice, UserError

# Samples that are read at once, and items that are read before all others to find out what they are.
_CHUNK, _LOOKED_AT = 1000, 16
# Seconds of reading that are announced.
_LONG = 10.0


def as_data_set(
    source: Any,
    labels: Any = None,
    classes: int | Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    channels: Channels | None = None,
    limit: int | None = None,
) -> DataSet:
    """A data set from data as you have them.

    An item is a sample, a pair ``(sample, label)``, or a mapping with the keys image (or img, pixel_values, x, input,
    data, sample) and, where there are classes, label (or labels, y, target, targets, class). A sample is

    - an image of Pillow's, grey or in colour;
    - an image as a uint8 or bool array or tensor: ``(h, w)``, ``(channels, h, w)`` or ``(h, w, channels)`` with 1, 3
      or 4 channels, of which the fourth is alpha;
    - an image as an array or tensor of floats of these shapes, in [-1, 1], or in [0, 1] as torchvision's ToTensor makes
      them, which becomes [-1, 1];
    - a vector of floats ``(features,)``, or a single number, which networks see as it is.

    A label is a whole number from 0. All items must be alike, and the same whenever they are read: a batch is a
    function of the seed, and random changes are the augmentations of a game. Items are read once, into memory, if they
    fit into half of what is left of it; otherwise they are read whenever a batch needs them.

    Args:
        source: a torch Dataset or another object with ``__len__`` and ``__getitem__``, a list of samples, an array or a
            tensor ``(n, ...)`` of samples, a pair (samples, labels) as a tuple, or a data set, which stays as it is.
        labels: ``(n,)`` whole numbers from 0. By default those of the items, if they have any.
        classes: the number of classes, or their names. By default what the attributes ``classes``, ``class_names`` or
            ``num_classes`` of ``source`` say, or else one more than the largest label.
        size: the height and width to which PIL images and uint8 images are scaled, one number for both or a pair: the
            largest part of this shape around the centre is scaled. By default images are left as they are.
        channels: 3 for colour, 1 for grey or 4 for colour with alpha, to which such images are converted. By default
            they are left as they are, but transparent pixels of PIL images are laid over white.
        limit: the number of samples of a fixed subset, see :func:`gantrain.data.limit.subset_rows`. By default all.

    Raises:
        UserError: an item cannot be read or is nothing of the above; items differ in kind, or from one reading to the
            next.

    Examples:
        >>> import numpy as np
        >>> images = np.zeros((100, 8, 8, 3), np.uint8)
        >>> data = as_data_set(images, labels=[i % 10 for i in range(100)], limit=50)
        >>> data.spec
        DataSpec(shape=(3, 8, 8), classes=10, vocabulary=0, padding=None, numeric=False)
        >>> len(data.samples), data.labels.bincount().tolist()
        (50, [5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    """
    data = source
    if not isinstance(source, DataSet) and not all(hasattr(source, key) for key in ("samples", "spec", "decode")):
        data = _adopted(source, labels, classes, size, channels)
    elif not (labels is None and classes is None and size is None and channels is None):
        raise UserError("data: is a data set, whose labels, classes and sizes are its own; give only a limit")
    return data if limit is None else limited(data, limit)


def finished(built: Any, limit: int | None = None) -> DataSet:
    """The data set that a config describes, from the object that its part made.

    Args:
        built: a data set, or what :func:`as_data_set` makes one of.
        limit: see :func:`as_data_set`.

    Raises:
        UserError: the object is no data, or is a data set of the user's own that is not as it should be.
    """
    data = as_data_set(built)
    require_data_set(data)
    return data if limit is None else limited(data, limit)


class AdoptedDataSet(DataSet):
    """Samples that come from items of a user's own.

    Args:
        samples: ``(n, *shape)``, in memory or unread.
        labels: ``(n,)`` int64, or None.
        classes: the number of classes; 0 without labels.
        form: the form of the items.
        class_names: the names of the classes in the order of their numbers; empty where they have none.
    """

    def __init__(
        self, samples: ItemSamples, labels: Tensor | None, classes: int, form: Form, class_names: Sequence[str] = ()
    ):
        super().__init__(samples, labels, DataSpec(form.sample_shape, classes))
        self.form = form
        self.class_names = tuple(class_names)

    def decode(self, stored: Tensor) -> Tensor:
        """Levels of images, and images in [0, 1], become float32 in [-1, 1]; other samples are as they are stored."""
        if self.form.stored == torch.uint8:
            return pixels.decode(stored)
        return stored * 2 - 1 if self.form.unit else stored


class ItemSamples:
    """Unread samples ``(n, *shape)`` in the items of a user's data set, with what users of samples need of a tensor.

    Args:
        items: the items.
        form: the form that they share.
        labelled: whether they have labels.
        rows: ``(n,)`` int64, the numbers of the items.
    """

    def __init__(self, items: Items, form: Form, labelled: bool, rows: np.ndarray):
        self._items, self._form, self._labelled, self.rows = items, form, labelled, rows
        self.dtype = form.stored
        self.ndim = 1 + len(form.sample_shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self._form.sample_shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Tensor) -> ItemSamples:
        chosen = self.rows[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        return ItemSamples(self._items, self._form, self._labelled, chosen)

    def split(self, size: int) -> Iterator[ItemSamples]:
        """Parts of ``size`` samples; the last part may be smaller."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device | str) -> Tensor:
        """Read the samples into a tensor ``(n, *shape)`` on ``device``.

        Raises:
            UserError: an item cannot be read, or differs from the first in kind.
        """
        return self.read()[0].to(device)

    def read(self) -> tuple[Tensor, np.ndarray | None]:
        """The samples as a tensor, and their labels ``(n,)`` int64, or None where they have none."""
        with torch.random.fork_rng(devices=[]):
            items, labels = self._items.read(self.rows, self._form, self._labelled)
        samples = self._form.samples(items, self.rows, self._items.who)
        return samples, labels


def _adopted(
    source: Any, labels: Any, classes: Any, size: int | tuple[int, int] | None, channels: Channels | None
) -> AdoptedDataSet:
    if isinstance(source, tuple) and type(source) is tuple:
        if len(source) != 2 or labels is not None:
            raise UserError(
                f"data: a tuple of {len(source)}; expected a pair (samples, labels), or the samples in a list or array"
            )
        source, labels = source
    who = "data" if isinstance(source, list | np.ndarray | Tensor) else f"data: {name_of(source)}"
    count = _count(source, who)
    items = Items(source, size, channels, who)
    with torch.random.fork_rng(devices=[]):
        form, labelled = items.first()
    if labelled and labels is not None:
        raise UserError(f"{who}: the items have labels, and labels are given beside them; leave one of the two out")
    samples = ItemSamples(items, form, labelled, np.arange(count))
    began = time.monotonic()
    samples, found = _looked_at(samples, form)
    per_item = (time.monotonic() - began) / (2 * min(_LOOKED_AT, count))
    unread, form = samples, samples._form
    known = whole_numbers(labels, count) if labels is not None else None
    if labels is not None and known is None:
        raise UserError(f"{who}: labels: expected {count} whole numbers from 0, got {_described(labels)}")
    if labelled:
        known = _declared(source, count, found)
    held = None
    if per_item * count > _LONG and (fits_in_memory(samples) or (labelled and known is None)):
        what = f"{who}: its {count} items are read once, which takes about {per_item * count:.0f} s"
        warnings.warn(Notice(what), stacklevel=3)
    if fits_in_memory(samples):
        held, own = _all(samples)
        known = own if labelled else known
    elif labelled and known is None:
        known = np.concatenate([part.read()[1] for part in samples.split(_CHUNK)])
    numbers = None if known is None else torch.as_tensor(known)
    count = _classes(source, classes, numbers, who)
    data = AdoptedDataSet(unread, numbers, count, form, _names(source, classes, count))
    if held is not None:
        data.samples = held
        if not isinstance(source, np.memmap) and isinstance(source, list | np.ndarray | Tensor):
            data.in_files = None  # they were in memory before
    return data


def _count(source: Any, who: str) -> int:
    if isinstance(source, IterableDataset):
        raise UserError(
            f"{who} is an IterableDataset, which has no items by number; gantrain draws batches by the seed, and needs "
            "a map-style Dataset with __len__ and __getitem__"
        )
    if isinstance(source, str | bytes | dict | set) or not hasattr(source, "__getitem__"):
        advice = "; give its dataset, since gantrain draws the batches" if isinstance(source, DataLoader) else ""
        raise UserError(
            f"data: expected a data set, a map-style torch Dataset, a list of samples, an array or a tensor, got "
            f"{_described(source)}{advice}"
        )
    if not hasattr(source, "__len__"):
        raise UserError(f"{who} has no length; define __len__, the number of its items")
    with UserCode("data: __len__", source):
        count = len(source)
    if not count:
        raise UserError(f"{who} is empty; expected at least one item")
    return count


def _looked_at(samples: ItemSamples, form: Form) -> tuple[ItemSamples, dict[int, int]]:
    """Read a few items twice, refuse those that change, and find out in which range images of floats are.

    Returns:
        The samples; and the labels of these items by their numbers.
    """
    items, n = samples._items, len(samples)
    rows = np.unique(np.linspace(0, n - 1, min(_LOOKED_AT, n)).astype(np.int64))
    with torch.random.fork_rng(devices=[]):
        found, labels = items.read(rows, form, samples._labelled)
        again, labels_again = items.read(rows, form, samples._labelled)
    same = [np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(found, again, strict=True)]
    if labels is not None and labels_again is not None:
        same = [s and a == b for s, a, b in zip(same, labels, labels_again, strict=True)]
    if not all(same):
        raise UserError(
            f"{items.who}: item {rows[same.index(False)]} is another one each time it is read, as with random "
            "transforms; batches are a function of the seed, so leave these out and name them in game.augmentations"
        )
    unit = form.stored == torch.float32 and form.layout != "vector" and bool(found.min() >= 0)
    form = replace(form, unit=unit)
    by_number = {} if labels is None else dict(zip(rows.tolist(), labels.tolist(), strict=True))
    return ItemSamples(items, form, samples._labelled, samples.rows), by_number


def _all(samples: ItemSamples) -> tuple[Tensor, np.ndarray | None]:
    """All samples and labels, read in parts so that the items are not in memory twice."""
    held, labels = torch.empty(samples.shape, dtype=samples.dtype), []
    for chunk, part in zip(held.split(_CHUNK), samples.split(_CHUNK), strict=True):
        values, numbers = part.read()
        chunk.copy_(values)
        labels += [] if numbers is None else [numbers]
    return held, np.concatenate(labels) if labels else None


def _declared(source: Any, count: int, found: dict[int, int]) -> np.ndarray | None:
    """The labels that a data set has in an attribute, as those of torchvision have, if they are those of its items."""
    for name in ("targets", "labels"):
        known = whole_numbers(getattr(source, name, None), count)
        if known is not None and all(known[row] == label for row, label in found.items()):
            return known
    return None


def _classes(source: Any, given: Any, labels: Tensor | None, who: str) -> int:
    if labels is None:
        if given:
            raise UserError(
                f"{who}: classes were given, and the items have no labels; give labels, or leave classes out"
            )
        return 0
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UserError(f"{who}: labels: expected whole numbers from 0, got {low}")
    classes = _number_of(given) or _named(source) or high + 1
    if high >= classes:
        raise UserError(f"{who}: labels: expected 0 to {classes - 1} for {classes} classes, got {high}")
    return classes


def _named(source: Any) -> int | None:
    """The number of classes that a data set declares."""
    return next((number for number in map(_number_of, _declarations(source)) if number), None)


def _names(source: Any, given: Any, count: int) -> tuple[str, ...]:
    """The names of so many classes, of those that were given or that a data set declares; none if it has others."""
    for names in (given, *_declarations(source)):
        if isinstance(names, list | tuple) and len(names) == count and all(isinstance(name, str) for name in names):
            return tuple(names) if len(set(names)) == count else ()
    return ()


def _declarations(source: Any) -> list[Any]:
    """What a data set says of its classes, also behind torch's Subset."""
    while isinstance(source, Subset):
        source = source.dataset
    return [getattr(source, name, None) for name in ("classes", "class_names", "num_classes")]


def _number_of(classes: Any) -> int | None:
    if isinstance(classes, Integral) and not isinstance(classes, bool):
        return int(classes)
    return len(classes) if isinstance(classes, Sized) and not isinstance(classes, str) else None


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    return f"{shown(value)} ({type(value).__name__})"
