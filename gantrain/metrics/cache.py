"""Statistics of real images, kept between evaluations."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from gantrain.errors import Notice

FORMAT = "1"


class Cache:
    """A folder of safetensors files, each named by the SHA-256 of its key and holding the key and a digest of itself.

    A file appears whole or not at all, so that any number of processes may read and write; one that is damaged or
    holds something else is computed anew. Nothing is ever unpickled.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{hashlib.sha256(_written(key).encode()).hexdigest()[:40]}.safetensors"

    def load(self, key: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor] | None:
        """The tensors of a key, or None where there are none.

        Args:
            key: everything that they depend on, as JSON has it.
            shapes: of the tensors that there must be.
        """
        path = self.path(key)
        try:
            # Read at once: safetensors' own reader opens the file twice, and it may be replaced in between.
            content = path.read_bytes()
            tensors = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            return _damaged(path, str(error))
        about = header.get("__metadata__", {})
        if about.get("format") != FORMAT or about.get("key") != _written(key):
            return _damaged(path, "it belongs to something else")
        if {name: tuple(t.shape) for name, t in tensors.items()} != dict(shapes):
            return _damaged(path, "it holds other tensors")
        if about.get("sha256") != _digest(tensors):
            return _damaged(path, "its content is not what was written")
        return tensors

    def save(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors; where that is not possible a notice says so."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        about = {"format": FORMAT, "key": _written(key), "sha256": _digest(plain)}
        path = self.path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=path.stem, suffix=".tmp")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(safetensors.torch.save(plain, metadata=about))
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            warnings.warn(
                Notice(f"{self.folder}: statistics of the real images cannot be kept ({error.strerror or error})"),
                stacklevel=2,
            )


def _written(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        content.update(tensors[name].numpy())
    return content.hexdigest()


def _damaged(path: Path, what: str) -> None:
    warnings.warn(Notice(f"{path}: not used, {' '.join(what.split())}; its statistics are computed anew"), stacklevel=3)
