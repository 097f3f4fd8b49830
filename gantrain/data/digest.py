"""A digest of training data, by which a resumed run and the other hosts notice that theirs are other data.

The digest covers which samples there are, their order, their labels, and their content: the numbers themselves where
samples are held in memory, the names and sizes of the files where they are read from disk. Samples that come from files
and are held in memory have both. Neither the place of the files nor that of the samples counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrain.data.dataset import Samples
from gantrain.data.readers.file_samples import FileSamples

# The largest number of files whose names and sizes are kept, so that a difference can name one.
_NAMED = 10_000
# Samples that are digested at once, and those of a data set that is neither in memory nor in files gantrain knows.
_CHUNK, _FEW = 1000, 16


@dataclass(frozen=True)
class Digest:
    """The digest of a data set; what does not apply to it, or was not computed, is None.

    Attributes:
        samples: the number of samples.
        labels: of the labels, in order.
        content: of the numbers, in order.
        unordered: of the numbers in any order.
        names: of the names of the files, in order.
        sizes: of the sizes of the files, in order.
        files: the size of each file by its name, in order, if these are not many.
        few: of the numbers of a few samples, where samples are neither in memory nor in files that gantrain knows.
    """

    samples: int
    labels: str | None = None
    content: str | None = None
    unordered: str | None = None
    names: str | None = None
    sizes: str | None = None
    files: Mapping[str, int] | None = None
    few: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The digest as JSON can write it; see :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Digest:
        """The digest that :meth:`as_dict` gave.

        Raises:
            ValueError: the values are of another kind.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not isinstance(values.get("samples"), int):
            raise ValueError("expected an object with the number of samples")
        digest = cls(**{name: value for name, value in values.items() if name in known})
        hashes = (digest.labels, digest.content, digest.unordered, digest.names, digest.sizes, digest.few)
        if not all(value is None or isinstance(value, str) for value in hashes):
            raise ValueError("expected digests as text")
        if digest.files is not None and not (
            isinstance(digest.files, dict) and all(isinstance(size, int) for size in digest.files.values())
        ):
            raise ValueError("expected the size of each file")
        return digest

    def completed(self, other: Digest) -> Digest:
        """The digest with what only ``other`` has, a digest of the same data that were elsewhere."""
        own = {name: value for name, value in self.as_dict().items() if value is not None}
        return Digest(**(other.as_dict() | own))


def digest(samples: Samples, labels: Tensor | None, files: Samples | None = None) -> Digest:
    """The digest of a data set.

    Args:
        samples: the samples, wherever they are.
        labels: ``(n,)``, or None.
        files: the same samples in their files, if they are held in memory and come from files.

    Raises:
        UserError: a sample cannot be read.
    """
    values: dict[str, Any] = {"labels": None if labels is None else _content(labels)[0]}
    if isinstance(samples, Tensor):
        values["content"], values["unordered"] = _content(samples)
    files = samples if files is None else files
    if isinstance(files, FileSamples):
        names, sizes = files.names, files.sizes()
        values |= {"names": _of_lines(names), "sizes": _of_lines(map(str, sizes))}
        if len(names) <= _NAMED:
            values["files"] = dict(zip(names, sizes, strict=True))
    elif not isinstance(samples, Tensor):
        values["few"] = _content(samples[spread(len(samples), _FEW)].to("cpu"))[0]
    return Digest(len(samples), **values)


def spread(n: int, most: int) -> Tensor:
    """``(min(n, most),)``: row numbers spread evenly over ``n`` rows, from the first to the last."""
    # The float32 of linspace decides which rows are in a digest, and so stays; from 2^24 on it rounds up to n itself.
    return torch.linspace(0, n - 1, min(most, n)).long().clamp_(max=n - 1)


def difference(now: Digest, before: Digest) -> str | None:
    """How data differ from earlier ones, in a few words for a message; None where nothing is known to differ."""
    counts = f"{now.samples} samples instead of {before.samples}" if now.samples != before.samples else None
    if now.files is not None and before.files is not None:
        missing = [name for name in before.files if name not in now.files]
        new = [name for name in now.files if name not in before.files]
        found = [_some(missing, "missing"), _some(new, "new")]
        if missing or new:
            return ", ".join(part for part in (counts, *found) if part)
        resized = [name for name, size in now.files.items() if size != before.files[name]]
        if resized:
            return _some(resized, "of another size")
    if counts:
        return counts
    if now.unordered == before.unordered and _differ(now.content, before.content):
        return "the same samples in another order"
    if _differ(now.names, before.names):
        reordered = now.files is not None and before.files is not None
        return "the same files in another order" if reordered else "files with other names"
    if _differ(now.sizes, before.sizes):
        return "files of other sizes"
    if _differ(now.content, before.content) or _differ(now.few, before.few):
        return "samples with other content" if now.names is None else "files with other content"
    return "other labels" if _differ(now.labels, before.labels) else None


def _content(tensor: Tensor) -> tuple[str, str]:
    """Digests of the rows of a tensor: in their order, and in any order."""
    ordered = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape[1:])}".encode())
    total = np.zeros(4, np.uint64)
    for chunk in tensor.split(_CHUNK):
        rows = chunk.cpu().contiguous().view(torch.uint8).reshape(len(chunk), -1).numpy()
        digests = b"".join(hashlib.sha256(row).digest() for row in rows)
        ordered.update(digests)
        total += np.frombuffer(digests, np.uint64).reshape(-1, 4).sum(axis=0, dtype=np.uint64)
    return ordered.hexdigest(), total.tobytes().hex()


def _of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _differ(now: str | None, before: str | None) -> bool:
    return now is not None and before is not None and now != before


def _some(names: list[str], what: str) -> str | None:
    if not names:
        return None
    return f"{names[0]} is {what}" if len(names) == 1 else f"{len(names)} files are {what}, such as {names[0]}"
