"""The nearest real samples of given samples, by which one sees whether a generator repeats its training data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrain.data import pixels
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.sources.base import PIECE, Images
from gantrain.utils.abandon import between_batches


@dataclass(frozen=True)
class Neighbours:
    """The nearest real samples of each sample, the nearest first.

    Attributes:
        rows: ``(n, k)`` int64, the numbers of the real samples in their data set.
        distances: ``(n, k)`` float64, the distances from them.
    """

    rows: Tensor
    distances: Tensor


@torch.no_grad()
def neighbours(samples: Tensor, data: DataSet, k: int = 5, extractor: Extractor | None = None) -> Neighbours:
    """Find the ``k`` nearest real samples of each sample, among all of a data set.

    Distances are Euclidean. Without an extractor they are those of the values that networks see, in [-1, 1] for images,
    else those of the extractor's features. Images are rounded to 8 bits first, as they are written, and laid over white
    if they have alpha. Of real samples that are equally near the first ones in the data set are taken.

    Args:
        samples: ``(n, *shape)``, images in [-1, 1].
        data: the real samples, of the same shape; they are read piece by piece.
        k: the number of neighbours, at most that of the real samples.
        extractor: the network of the features, see :func:`gantrain.metrics.make_extractor`.

    Raises:
        UserError: samples and data have different shapes; there are fewer than ``k`` real samples; images do not fit
            the extractor, or there is one and the data are no images.

    Examples:
        >>> from gantrain.data import Digits
        >>> data = Digits()
        >>> found = neighbours(data.decode(data.samples[7:9]), data, k=2)
        >>> found.rows[:, 0].tolist(), found.distances[:, 0].tolist()
        ([7, 8], [0.0, 0.0])
    """
    count = len(data.samples)
    if not 1 <= k <= count:
        raise UserError(f"neighbours: expected from 1 to {count} of them, as many as there are real samples, got {k}")
    if tuple(samples.shape[1:]) != tuple(data.spec.shape):
        shapes = f"{tuple(samples.shape[1:])}, and those of the data {tuple(data.spec.shape)}"
        raise UserError(f"neighbours: the samples have the shape {shapes}; take data of the same shape")
    if not data.spec.image:
        if extractor is not None:
            raise UserError(f"neighbours: the features of {extractor.name} are of images, and these data are none")
        return _nearest(samples.cpu().flatten(1), (data.decode(x.to("cpu")) for x in data.samples.split(PIECE)), k)
    source = Images(data)
    device = samples.device if extractor is None else extractor.device
    levels = pixels.opaque(pixels.encode(samples)).to(device)
    if extractor is not None:
        extractor.require_shape(tuple(levels.shape[1:]), "samples")
    sizes = [(index, min(PIECE, count - index * PIECE)) for index in range(-(-count // PIECE))]
    real = (_vectors(piece, extractor) for piece in source.pieces(sizes, device))
    return _nearest(torch.cat([_vectors(piece, extractor) for piece in levels.split(PIECE)]), real, k)


def _vectors(levels: Tensor, extractor: Extractor | None) -> Tensor:
    return pixels.decode(levels) if extractor is None else extractor(levels).features


def _nearest(samples: Tensor, real: Iterator[Tensor], k: int) -> Neighbours:
    """The nearest of the real vectors, which come in pieces."""
    samples = samples.flatten(1).double()
    rows = torch.empty(len(samples), 0, dtype=torch.int64, device=samples.device)
    distances = torch.empty(len(samples), 0, dtype=torch.float64, device=samples.device)
    first = 0
    for piece in real:
        between_batches()
        # Not by products of matrices, whose rounding would give a copy a distance.
        new = torch.cdist(samples, piece.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
        numbers = torch.arange(first, first + len(piece), device=rows.device).expand(len(samples), -1)
        first += len(piece)
        distances, order = torch.cat([distances, new], dim=1).sort(dim=1, stable=True)
        rows = torch.cat([rows, numbers], dim=1).gather(1, order)[:, :k]
        distances = distances[:, :k]
    return Neighbours(rows.cpu(), distances.cpu())
