"""What metrics know of the real images."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.cache import Cache
from gantrain.metrics.extraction import Accumulator, extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.sources.base import Source


@dataclass(frozen=True)
class Reference:
    """Of the real images, in the first process.

    Attributes:
        moments: for the Fréchet distance, if asked for.
        features: ``(n, d)``, for kernel distance, precision and recall, if asked for.
    """

    moments: Moments | None = None
    features: Tensor | None = None


def refer_to(
    real: Source,
    extractor: Extractor,
    uses: Set[str],
    batch_size: int,
    processes: Processes,
    cache: str | Path | None,
) -> Reference:
    """The statistics of all images of ``real``, from the cache where it has them.

    The key is the digest of the images, their number, and the extractor's identity. What is missing is computed in one
    pass, shared by the processes; the first reads and writes the cache.

    Args:
        real: it has an end.
        extractor: of the features.
        uses: which attributes of :class:`Reference` are wanted.
        batch_size: images in one forward pass.
        processes: that take part.
        cache: a folder, or None.

    Raises:
        UserError: an image cannot be read, or does not fit the extractor.
    """
    d = extractor.dimensions
    shapes = {"moments": {"count": (), "mean": (d,), "scatter": (d, d)}, "features": {"values": (real.count, d)}}
    wanted = {kind: shape for kind, shape in shapes.items() if kind in uses}
    found: dict[str, dict[str, Tensor]] = {}
    keys = {}
    with processes.raise_on_all():
        if cache is not None and processes.rank == 0:
            base = {"images": real.digest(), "samples": real.count, "extractor": extractor.identity}
            keys = {kind: base | {"kind": kind} for kind in wanted}
            kept = {kind: Cache(cache).load(keys[kind], shape) for kind, shape in wanted.items()}
            found = {kind: tensors for kind, tensors in kept.items() if tensors is not None}
    missing = processes.broadcast_object([kind for kind in wanted if kind not in found])
    if missing:
        found |= _computed(real, missing, extractor, batch_size, processes)
        if cache is not None and processes.rank == 0:
            for kind in missing:
                Cache(cache).save(keys[kind], found[kind])
    return Reference(
        Moments.of(**found["moments"]) if "moments" in found else None,
        found["features"]["values"] if "features" in found else None,
    )


def _computed(
    real: Source, kinds: list[str], extractor: Extractor, batch_size: int, processes: Processes
) -> dict[str, dict[str, Tensor]]:
    moments = Moments(extractor.dimensions, extractor.device)
    kept: dict[str, Accumulator] = {}
    for kind in kinds:
        kept[kind] = moments if kind == "moments" else Features(real.count, extractor.dimensions)
    extract(real, real.count, extractor, list(kept.values()), batch_size, processes)
    return {kind: vars(accumulator) for kind, accumulator in kept.items()}
