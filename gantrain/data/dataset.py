"""The interface of data sets: samples as they are stored, labels, and how stored samples are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from gantrain.config.types import shown
from gantrain.config.user_code import UserCode, described, is_users, name_of
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError


class Samples(Protocol):
    """Stored samples ``(n, *shape)``: a tensor, or samples that are read when they are needed.

    ``samples[rows]`` and ``samples.split(size)`` select samples without reading them; ``to`` reads them.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, *shape)``."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the stored numbers, such as uint8 for images."""

    @property
    def ndim(self) -> int:
        """The number of dimensions of ``shape``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Tensor) -> Samples:
        """The samples at these rows; a tensor of rows is int64 and on the device of the samples or on the CPU."""

    def split(self, split_size: int, /) -> Iterable[Samples]:
        """Parts of ``split_size`` samples; the last part may be smaller."""

    def to(self, device: torch.device | str, /) -> Tensor:
        """The samples as one tensor on ``device``.

        Raises:
            UserError: a sample cannot be read.
        """


class DataSet:
    """Samples as they are stored, their labels, and how a stored sample becomes what networks see.

    A data set of your own is a subclass: the arguments of its constructor are its keys in the YAML file.

    Args:
        samples: ``(n, *stored_shape)``, in memory or still in files; they are stored compactly, such as images in
            uint8, since :meth:`decode` is applied to each batch.
        labels: ``(n,)`` int64, from 0 to ``spec.classes - 1``; ``(n,)`` float32 where ``spec.numeric``; None where
            there are none.
        spec: the shape of a decoded sample, and the number of classes.

    Attributes:
        scores: the scores by which predictions of these labels are usually compared, beside accuracy and loss; the keys
            of ``evaluate.scores``. Default none.
        samples: as given; :func:`gantrain.data.storage.place_samples` may replace them by the same samples elsewhere.
        labels: as given.
        spec: as given.
        in_files: the samples in their files, where these come from files; None for other data sets.
        in_memory_only: the reason why samples that were in files had to be read all at once; None for other data sets.
    """

    scores: tuple[str, ...] = ()
    in_files: Samples | None = None
    in_memory_only: str | None = None

    def __init__(self, samples: Samples, labels: Tensor | None, spec: DataSpec):
        self.samples = samples
        self.in_files = None if isinstance(samples, Tensor) else samples
        self.labels = labels
        self.spec = spec

    def decode(self, stored: Tensor) -> Tensor:
        """Stored samples ``(n, *stored_shape)`` as networks see them, ``(n, *spec.shape)``; by default unchanged."""
        return stored


def seen_in_training(samples: Samples, uniform: Callable[[int], Tensor]) -> Samples:
    """Samples as a batch of the training sees them: random windows of them, where their data set asks for those.

    Args:
        samples: the samples, which are not read.
        uniform: ``uniform(k)`` returns k numbers in [0, 1) for each sample, ``(n, k)``.
    """
    numbers = getattr(samples, "random_numbers", 0)
    windowed: Samples = samples.with_windows(uniform(numbers)) if numbers else samples  # type: ignore[attr-defined]
    return windowed


def require_data_set(data: Any) -> None:
    """Refuse an object that is no data set, or whose samples, labels and spec do not fit each other.

    Raises:
        UserError: the data are of the user's own and not as :class:`DataSet` describes them.
    """
    if not is_users(data):
        return
    who = f"data: {name_of(data)}"
    missing = [key for key in ("samples", "labels", "spec", "decode") if not hasattr(data, key)]
    if missing:
        raise UserError(f"{who}: has no {', '.join(missing)}; derive the class from gantrain.data.DataSet")
    if not isinstance(data.spec, DataSpec):
        raise UserError(f"{who}: spec: expected a gantrain.data.DataSpec, got {shown(data.spec)}")
    if not hasattr(data.samples, "__getitem__") or not hasattr(data.samples, "shape") or not len(data.samples):
        raise UserError(
            f"{who}: samples: expected a tensor (n, *shape) of at least one sample, got {described(data.samples)}"
        )
    labels, n, classes = data.labels, len(data.samples), data.spec.classes
    if (labels is None) != (not classes):
        there = "there are none" if labels is None else "there are some"
        raise UserError(f"{who}: labels: {there}, and the spec has {classes} classes; make the two agree")
    if labels is not None:
        kind, dtype = ("a float32", torch.float32) if data.spec.numeric else ("an int64", torch.int64)
        if not isinstance(labels, Tensor) or labels.dtype != dtype or tuple(labels.shape) != (n,):
            raise UserError(f"{who}: labels: expected {kind} tensor of shape ({n},), got {described(labels)}")
        low, high = int(labels.min()), int(labels.max())
        if not data.spec.numeric and (low < 0 or high >= classes):
            raise UserError(f"{who}: labels: expected 0 to {classes - 1}, got {low} to {high}")
    with UserCode("data", data):
        first = data.decode(data.samples[:1].to("cpu"))
    dtype = torch.int64 if data.spec.vocabulary else torch.float32
    if not isinstance(first, Tensor) or tuple(first.shape) != (1, *data.spec.shape) or first.dtype != dtype:
        raise UserError(
            f"{who}: decode: expected a sample of shape {data.spec.shape} and {dtype}, as the spec says, "
            f"got {described(first)}"
        )
