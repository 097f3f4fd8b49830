"""One pass of images through extractors, shared by all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.sources.base import PIECE, Source
from gantrain.utils.abandon import between_batches


class Accumulator(Protocol):
    """Statistics that are accumulated over the images."""

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        """Add the features ``(n, d)`` and logits ``(n, classes)`` of the images whose numbers are ``rows``."""

    def merge(self, processes: Processes) -> None:
        """Replace the statistics of this process by those of the images of all processes."""


class Pass(NamedTuple):
    """An extractor, and the statistics that are accumulated of its outputs; without any it is not run."""

    extractor: Extractor
    accumulators: Sequence[Accumulator]


@torch.no_grad()
def extract(
    source: Source,
    samples: int,
    passes: Sequence[Pass],
    batch_size: int,
    processes: Processes,
    pictures: Pictures | None = None,
) -> None:
    """Run ``samples`` images through extractors, and add their outputs to the accumulators of all processes.

    Each image is made or read once. ``pictures`` gets the images themselves.

    Raises:
        UserError: an image of some process cannot be had or does not fit; the error is raised in all processes.
    """
    with processes.all_work():
        for rows, images in _batches(source, samples, [each.extractor for each in passes], batch_size, processes):
            between_batches()
            if pictures is not None:
                pictures.update(rows, images)
            for extractor, accumulators in passes:
                if not accumulators:
                    continue
                output = extractor(images.to(extractor.device))
                if not output.features.isfinite().all():
                    raise UserError(f"{source.name}: the extractor {extractor.name} returned NaN or infinity")
                for accumulator in accumulators:
                    accumulator.update(rows, output.features, output.logits)
    for each in passes:
        for accumulator in each.accumulators:
            accumulator.merge(processes)
    if pictures is not None:
        pictures.merge(processes)


def _batches(
    source: Source, samples: int, extractors: Sequence[Extractor], batch_size: int, processes: Processes
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of this process, as numbers and images: with n processes, each of them takes every n-th piece."""
    rows: list[Tensor] = []
    images: list[Tensor] = []
    indices = range(processes.rank, -(-samples // PIECE), processes.group_size)
    sizes = [(index, min(PIECE, samples - index * PIECE)) for index in indices]
    for (index, size), piece in zip(sizes, source.pieces(sizes, extractors[0].device), strict=True):
        between_batches()
        for extractor in extractors:
            extractor.require_shape(tuple(piece.shape[1:]), source.name)
        rows.append(torch.arange(index * PIECE, index * PIECE + size))
        images.append(piece)
        if sum(map(len, images)) >= batch_size:
            yield from _cut(rows, images, batch_size)
            rows, images = [], []
    if images:
        yield from _cut(rows, images, batch_size)


def _cut(rows: list[Tensor], images: list[Tensor], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    joined = images[0] if len(images) == 1 else torch.cat(images)
    yield from zip(torch.cat(rows).split(batch_size), joined.split(batch_size), strict=True)
