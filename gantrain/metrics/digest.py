"""The digest of real images, by which their statistics are kept; it is kept itself by the times of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from gantrain.distributed.processes import Processes
from gantrain.metrics.cache import Cache
from gantrain.metrics.sources.base import Source
from gantrain.utils.abandon import between_batches

# The number of images that a process digests at once.
_CHUNK = 1000


def digest_of(source: Source, count: int, processes: Processes, cache: str | Path | None) -> str | None:
    """The SHA-256 of the images of a source. All processes call this; each of them reads a share of the images.

    Nothing is read where the cache has the digest: it is kept there by the names of the files in which the images lie,
    by their sizes, and by the times of their last changes. Files that changed less than two seconds before they were
    opened are read again the next time.

    Args:
        source: the images.
        count: the number of the images, which is that of the source.
        processes: the processes that take part.
        cache: the folder in which the digest is kept; None keeps none. The first process reads and writes it.

    Returns:
        The digest, as 64 hexadecimal digits, which does not depend on the number of processes; None for images that
        have none, such as those of a generator.

    Raises:
        UserError: an image of some process cannot be read.
    """
    kept, key = None, None
    if cache is not None:
        stamps = _shared(count, processes, source.stamp)
        key = None if stamps is None else {"kind": "digest", "samples": count, "stamp": stamps}
        with processes.raise_on_all():
            if processes.rank == 0 and key is not None:
                kept = Cache(cache).load(key, {"sha256": (32,)})
        kept = processes.broadcast_object(kept)
    if kept is not None:
        return bytes(kept["sha256"].tolist()).hex()
    found = _shared(count, processes, source.content)
    if cache is not None and key is not None and found is not None and processes.rank == 0:
        Cache(cache).save(key, {"sha256": torch.tensor([*bytes.fromhex(found)], dtype=torch.uint8)})
    return found


def _shared(count: int, processes: Processes, part: Callable[[int, int], bytes | None]) -> str | None:
    """The digest of the digests of all chunks, of which each process computes its share; None if one has none."""
    chunks = range(0, count, _CHUNK)
    mine: dict[int, bytes | None] = {}
    with processes.all_work():
        for first in chunks[processes.rank :: processes.group_size]:
            between_batches()
            mine[first] = part(first, min(first + _CHUNK, count))
    everyone = {first: found for each in processes.gather(mine) for first, found in each.items()}
    total = hashlib.sha256(str(count).encode())
    for first in chunks:
        found = everyone[first]
        if found is None:
            return None
        total.update(found)
    return total.hexdigest()
