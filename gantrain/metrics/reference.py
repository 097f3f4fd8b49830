"""What metrics know of the real images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gantrain.metrics.cache import Cache
from gantrain.metrics.extractor import Extractor
from gantrain.metrics.moments import Moments, MomentsByPart
from gantrain.metrics.neighbourhoods import Features
from gantrain.metrics.passing import Accumulator, extract
from gantrain.metrics.processes import Processes
from gantrain.metrics.sources import Source


@dataclass(frozen=True)
class Reference:
    """Of the real images, in the first process.

    Attributes:
        moments: for the Fréchet distance, if asked for.
        features: ``(n, d)``, for kernel distance, precision and recall, if asked for.
    """

    moments: Moments | None
    features: Tensor | None


def refer_to(
    real: Source,
    extractor: Extractor,
    moments: bool,
    features: bool,
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
        moments: whether they are wanted.
        features: whether they are wanted.
        batch_size: images in one forward pass.
        processes: that take part.
        cache: a folder, or None.

    Raises:
        UserError: an image cannot be read, or does not fit the extractor.
    """
    d = extractor.dimensions
    shapes = {
        "moments": {"count": (), "mean": (d,), "scatter": (d, d)} if moments else None,
        "features": {"values": (real.count, d)} if features else None,
    }
    wanted = {kind: shape for kind, shape in shapes.items() if shape is not None}
    found: dict[str, dict[str, Tensor]] = {}
    keys = {}
    if cache is not None and processes.rank == 0:
        base = {"images": real.digest(), "samples": real.count, "extractor": extractor.identity}
        keys = {kind: base | {"kind": kind} for kind in wanted}
        kept = {kind: Cache(cache).load(keys[kind], shape) for kind, shape in wanted.items()}
        found = {kind: tensors for kind, tensors in kept.items() if tensors is not None}
    missing = processes.from_first([kind for kind in wanted if kind not in found])
    if missing:
        by_part = MomentsByPart(torch.empty(0), 1, d, extractor.device)
        all_features = Features(real.count, d) if "features" in missing else None
        accumulators: list[Accumulator] = [by_part] if "moments" in missing else []
        accumulators += [] if all_features is None else [all_features]
        extract(real, real.count, extractor, accumulators, batch_size, processes)
        if processes.rank == 0:
            if "moments" in missing:
                found["moments"] = vars(by_part.whole)
            if all_features is not None:
                found["features"] = {"values": all_features.values}
            if cache is not None:
                for kind in missing:
                    Cache(cache).save(keys[kind], found[kind])
    return Reference(
        Moments.of(**found["moments"]) if "moments" in found else None,
        found["features"]["values"] if "features" in found else None,
    )
