"""Nearest neighbours among features, exact under ties, in memory that does not grow with the square of their number.

A block of rows of the matrix of squared distances is estimated by a matrix product in double precision,
``|a|² + |b|² - 2 aᵀb``, whose error has a known bound. Where that error could decide a comparison, the distance is
computed anew as the sum ``Σ (a - b)²``, which is the same number for the same two rows, and 0 for equal ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrain.utils.abandon import between_batches

# The number of distances, and of features for a part of them, that are in memory at a time.
_ENTRIES = 2**24
_COLUMNS = 4096


@dataclass
class _Block:
    """Some rows of the matrix of squared distances from points ``a`` to points ``b``.

    Attributes:
        a: ``(rows, d)``, the points of these rows.
        b: ``(m, d)``, the points of all columns.
        first: the number of the first row.
        squares: ``(rows, m)`` float64, the estimates; entries that matter are replaced by exact ones.
        error: ``(rows, 1)``, the largest error of an estimate.
    """

    a: Tensor
    b: Tensor
    first: int
    squares: Tensor
    error: Tensor

    def settle(self, which: Tensor) -> None:
        """Replace the entries at a mask ``(rows, m)`` by exact ones."""
        size = max(1, _ENTRIES // max(1, self.a.shape[1]))
        for pairs in which.nonzero().split(size):
            i, j = pairs.unbind(1)
            self.squares[i, j] = (self.a[i].double() - self.b[j].double()).square().sum(1)

    def keep_smallest(self, k: int) -> Tensor:
        """Replace all entries by infinity but those that may be among the k smallest of their row, which are exact."""
        least = self.squares.kthvalue(k, dim=1, keepdim=True).values
        possible = self.squares <= least + 2 * self.error
        self.settle(possible)
        return self.squares.masked_fill_(~possible, torch.inf)


def distance_to_kth_other(points: Tensor, k: int) -> Tensor:
    """The squared distance of each of the points ``(n, d)`` to the k-th nearest other one: ``(n,)``, float64."""
    found = []
    for block in _blocks(points, points):
        rows = torch.arange(len(block.a), device=points.device)
        block.squares[rows, rows + block.first] = torch.inf
        found.append(block.keep_smallest(k).kthvalue(k, dim=1).values)
    return torch.cat(found)


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The squared distance of each of the points to the nearest of the others, and that one's number, the first of
    several that are equally near: ``(n,)`` each."""
    squares, numbers = [], []
    for block in _blocks(points, others):
        exact = block.keep_smallest(1)
        numbers.append(exact.argmin(1))
        squares.append(exact.gather(1, numbers[-1][:, None])[:, 0])
    return torch.cat(squares), torch.cat(numbers)


def count_inside(centres: Tensor, squared_radii: Tensor, points: Tensor) -> Tensor:
    """How many of the points lie inside the ball around each centre, its surface excluded: ``(n,)``, int64."""
    found = []
    for block in _blocks(centres, points):
        bound = squared_radii[block.first : block.first + len(block.a), None]
        block.settle((block.squares - bound).abs() <= block.error)
        found.append((block.squares < bound).sum(1))
    return torch.cat(found)


def _blocks(a: Tensor, b: Tensor) -> Iterator[_Block]:
    squared_norms = torch.cat([part.double().square().sum(1) for part in b.split(_COLUMNS)])
    # The error of a sum of d products is at most d times the unit of rounding, relative to the sum of their sizes. The
    # factor 4 covers the three sums of an estimate and the sum that may replace it.
    unit = 4 * (a.shape[1] + 4) * torch.finfo(torch.float64).eps
    first = 0
    for rows in a.split(max(1, _ENTRIES // len(b))):
        between_batches()
        left = rows.double()
        own = left.square().sum(1, keepdim=True)
        products = torch.cat([left @ part.double().T for part in b.split(_COLUMNS)], dim=1)
        squares = products.mul_(-2).add_(own).add_(squared_norms)
        yield _Block(rows, b, first, squares, unit * (own.sqrt() + squared_norms.max().sqrt()).square())
        first += len(rows)
