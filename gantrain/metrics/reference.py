"""Statistics of the real images, which metrics compare with."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.cache import Cache
from gantrain.metrics.extraction import Accumulator, extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.sources.base import Source
from gantrain.metrics.statistics import Statistics


class Reference(Statistics):
    """Statistics of the real images. Only those attributes exist that some metric needs.

    Attributes:
        moments: the moments of the features, for the Fréchet distance.
        features: the features of all images, ``(n, d)``, for kernel distance, precision and recall.
        images: ``(n, channels, height, width)`` uint8, all images, for metrics of the user's own.
    """

    moments: Moments
    features: Tensor
    images: Tensor


def make_reference(
    real: Source,
    count: int,
    extractor: Extractor,
    needed: Set[str],
    batch_size: int,
    processes: Processes,
    cache: str | Path | None,
) -> Reference:
    """The statistics of all images of ``real``, read from the cache where it has them.

    The key of an entry is the digest of the images, their number, and the identity of the extractor. Statistics that
    the cache lacks are computed in one pass over the images, which the processes share; the first process reads and
    writes the cache, and only its result has the cached statistics.

    Args:
        real: the real images.
        count: the number of the images, which is that of the source.
        extractor: the network of the features.
        needed: names of attributes of :class:`Reference`.
        batch_size: images in one forward pass.
        processes: the processes that take part.
        cache: a folder, or None.

    Raises:
        UserError: an image cannot be read, or does not fit the extractor.
    """
    d = extractor.dimensions
    every_shape: dict[str, dict[str, tuple[int, ...]]] = {
        "moments": {"count": (), "mean": (d,), "scatter": (d, d)},
        "features": {"values": (count, d)},
    }
    shapes = {kind: shape for kind, shape in every_shape.items() if kind in needed}
    tensors: dict[str, dict[str, Tensor]] = {}
    keys = {}
    with processes.raise_on_all():
        if cache is not None and processes.rank == 0:
            base = {"images": real.digest(), "samples": count, "extractor": extractor.identity}
            keys = {kind: base | {"kind": kind} for kind in shapes}
            cached = {kind: Cache(cache).load(keys[kind], shape) for kind, shape in shapes.items()}
            tensors = {kind: entry for kind, entry in cached.items() if entry is not None}
    missing = processes.broadcast_object([kind for kind in shapes if kind not in tensors])
    if missing:
        tensors |= _computed(real, count, missing, extractor, batch_size, processes)
        if cache is not None and processes.rank == 0:
            for kind in missing:
                Cache(cache).save(keys[kind], tensors[kind])
    reference = Reference()
    if "moments" in tensors:
        reference.moments = Moments.of(**tensors["moments"])
    if "features" in tensors:
        reference.features = tensors["features"]["values"]
    if "images" in needed:
        pictures = Pictures(count)
        extract(real, count, extractor, [], batch_size, processes, pictures)
        reference.images = pictures.values
    return reference


def _computed(
    real: Source, count: int, kinds: Sequence[str], extractor: Extractor, batch_size: int, processes: Processes
) -> dict[str, dict[str, Tensor]]:
    accumulators: dict[str, Accumulator] = {}
    if "moments" in kinds:
        accumulators["moments"] = Moments(extractor.dimensions, extractor.device)
    if "features" in kinds:
        accumulators["features"] = Features(count, extractor.dimensions)
    extract(real, count, extractor, list(accumulators.values()), batch_size, processes)
    return {kind: vars(accumulator) for kind, accumulator in accumulators.items()}
