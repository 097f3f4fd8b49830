"""The interface of data sets: samples as they are stored, labels, and how stored samples are decoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from gantrain.data.spec import DataSpec


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
        labels: ``(n,)`` int64, from 0 to ``spec.classes - 1``; None where there are no classes.
        spec: the shape of a decoded sample, and the number of classes.

    Attributes:
        samples: as given; :func:`gantrain.data.storage.place_samples` may replace them by the same samples elsewhere.
        labels: as given.
        spec: as given.
        in_files: the samples in their files, where these come from files; None for other data sets.
        in_memory_only: the reason why samples that were in files had to be read all at once; None for other data sets.
    """

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
