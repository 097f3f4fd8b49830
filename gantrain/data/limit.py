"""A fixed subset of a data set, with as many samples of each class as possible."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor

from gantrain.data.dataset import DataSet
from gantrain.errors import Notice
from gantrain.utils.seeding import generator


def limited(data: DataSet, limit: int) -> DataSet:
    """The data set with ``limit`` of its samples; all of them, and a notice, where it has no more.

    Samples that are still in their files are selected without being read. The data set itself is left as it is.

    Args:
        data: the data set.
        limit: the number of samples, at least 1; see :func:`subset_rows`.
    """
    count = len(data.samples)
    if limit >= count:
        if limit > count:
            warnings.warn(Notice(f"data.limit: {limit} samples asked for; taking all {count} there are"), stacklevel=2)
        return data
    rows = subset_rows(count, data.labels, limit)
    part = copy.copy(data)
    part.samples = data.samples[rows]
    part.labels = None if data.labels is None else data.labels[rows]
    in_files = getattr(data, "in_files", None)
    if in_files is not None:
        part.in_files = part.samples if in_files is data.samples else in_files[rows]
    return part


def subset_rows(count: int, labels: Tensor | None, limit: int) -> Tensor:
    """The rows of a fixed subset, in ascending order, int64.

    The rows are a function of the arguments alone, and so the same in every run. The numbers of samples of two classes
    differ by at most one, except that a class with fewer samples gives all that it has. A larger subset contains every
    smaller one.

    Args:
        count: the number of samples.
        labels: ``(n,)``, by which the classes are balanced if they are int64 class indices; None where there are none.
        limit: the number of rows, at most ``count``.

    Examples:
        >>> subset_rows(6, torch.tensor([0, 0, 0, 0, 1, 2]), 4).tolist()[-2:]
        [4, 5]
    """
    order = torch.randperm(count, generator=generator(0, "limit"))
    if labels is not None and not labels.is_floating_point():
        # Each sample's rank among those of its class; first come the first samples of all classes, then the second.
        labels = labels.cpu()[order]
        by_class = labels.argsort(stable=True)
        starts = labels.bincount().cumsum(0).roll(1)
        starts[0] = 0
        rank = torch.empty(count, dtype=torch.int64)
        rank[by_class] = torch.arange(count) - starts[labels[by_class]]
        order = order[rank.argsort(stable=True)]
    return order[:limit].sort().values
