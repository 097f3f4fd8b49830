"""Statistics of the real images, which metrics compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.cache import Cache
from gantrain.metrics.digest import digest_of
from gantrain.metrics.extraction import Accumulator, Pass, extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.sources.base import Source
from gantrain.metrics.statistics import Statistics, Wanted


class Reference(Statistics):
    """Statistics of the real images. Only those attributes exist that some metric needs.

    Attributes:
        moments: the moments of the features, for the Fréchet distance.
        features: the features of all images, ``(n, d)``, for metrics that compare samples with each other.
        labels: ``(n,)``, the classes of all images, for the Fréchet distance within each class.
        images: ``(n, channels, height, width)`` uint8, all images, for metrics of the user's own.
    """

    moments: Moments
    features: Tensor
    labels: Tensor
    images: Tensor


def make_references(
    real: Source,
    count: int,
    wanted: Sequence[Wanted],
    batch_size: int,
    processes: Processes,
    cache: str | Path | None,
) -> list[Reference]:
    """The statistics of all images of ``real`` for several extractors, read from the cache where it has them.

    The key of an entry is the digest of the images, their number, and the identity of the extractor. Statistics that
    the cache lacks are computed in one pass over the images, which the processes share; the first process reads and
    writes the cache, and only its result has the cached statistics.

    Args:
        real: the real images.
        count: the number of the images, which is that of the source.
        wanted: the extractors, and names of attributes of :class:`Reference` for each.
        batch_size: images in one forward pass.
        processes: the processes that take part.
        cache: a folder, or None.

    Returns:
        The statistics for each extractor.

    Raises:
        UserError: an image cannot be read, or does not fit an extractor.
    """
    # What has been found or is being computed: by the number of the extractor and the kind of the statistics.
    tensors: dict[tuple[int, str], dict[str, Tensor]] = {}
    entries = {(i, kind): entry for i, each in enumerate(wanted) for kind, entry in _entries(each, count).items()}
    digest = digest_of(real, count, processes, cache) if cache is not None and entries else None
    with processes.all_work():
        if cache is not None and processes.rank == 0 and digest is not None:
            entries = {at: replace(entry, key=entry.key | {"images": digest}) for at, entry in entries.items()}
            cached = {at: Cache(cache).load(entry.key, entry.shapes) for at, entry in entries.items()}
            tensors = {at: found for at, found in cached.items() if found is not None}
    missing: list[tuple[int, str]] = processes.broadcast_object([at for at in entries if at not in tensors])
    pictures = Pictures(count) if any("images" in each.needed for each in wanted) else None
    if missing or pictures is not None:
        made: dict[tuple[int, str], Accumulator] = {
            (i, kind): _accumulator(kind, wanted[i].extractor, count) for i, kind in missing
        }
        passes = [Pass(each.extractor, [made[at] for at in missing if at[0] == i]) for i, each in enumerate(wanted)]
        extract(real, count, passes, batch_size, processes, pictures)
        tensors |= {at: vars(accumulator) for at, accumulator in made.items()}
        if cache is not None and processes.rank == 0 and digest is not None:
            for at in missing:
                Cache(cache).save(entries[at].key, tensors[at])
    references = [Reference() for _ in wanted]
    for i, (reference, each) in enumerate(zip(references, wanted, strict=True)):
        if (i, "moments") in tensors:
            reference.moments = Moments.of(**tensors[i, "moments"])
        if (i, "features") in tensors:
            reference.features = tensors[i, "features"]["values"]
        labels = real.labels_of(torch.arange(count)) if "labels" in each.needed else None
        if labels is not None:
            reference.labels = labels
        if pictures is not None and "images" in each.needed:
            reference.images = pictures.values
    return references


@dataclass(frozen=True)
class _Entry:
    """The key of an entry of the cache, and the tensors that it holds, with their shapes."""

    key: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def _entries(wanted: Wanted, count: int) -> dict[str, _Entry]:
    """The statistics that an extractor needs and that are cached, by their kind."""
    d = wanted.extractor.dimensions
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "moments": {"count": (), "mean": (d,), "scatter": (d, d)},
        "features": {"values": (count, d)},
    }
    base = {"samples": count, "extractor": wanted.extractor.identity}
    return {kind: _Entry(base | {"kind": kind}, shapes[kind]) for kind in shapes if kind in wanted.needed}


def _accumulator(kind: str, extractor: Extractor, count: int) -> Accumulator:
    return (
        Moments(extractor.dimensions, extractor.device) if kind == "moments" else Features(count, extractor.dimensions)
    )
