"""A cache of the statistics of real images, kept on disk between evaluations."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from gantrain.errors import Notice, UserError
from gantrain.utils.io import make_folder, open_regular, write_file

FORMAT = "1"


class Cache:
    """A folder of safetensors files, each named by the SHA-256 of its key and holding the key and a digest of itself.

    A file appears whole or not at all, so that any number of processes may read and write. A file that is damaged or
    holds something else is not used, and its statistics are computed anew. Nothing is ever unpickled.

    Args:
        folder: the folder of the files; it is made where it is missing.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path:
        """The file of a key."""
        return self.folder / f"{hashlib.sha256(_as_json(key).encode()).hexdigest()[:40]}.safetensors"

    def load(self, key: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor] | None:
        """The tensors that are stored under a key, or None; a notice says why a file was not used.

        Args:
            key: everything that the tensors depend on, as JSON can write it.
            shapes: the names that the tensors must have, and their shapes.
        """
        path = self.path(key)
        try:
            # The file is read at once: safetensors' own reader opens it twice, and it may be replaced in between.
            with open_regular(path) as file:
                content = file.read()
            tensors = safetensors.torch.load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            _warn_unused(path, str(error))
            return None
        metadata = header.get("__metadata__", {})
        if metadata.get("format") != FORMAT or metadata.get("key") != _as_json(key):
            reason = "it belongs to something else"
        elif {name: tuple(t.shape) for name, t in tensors.items()} != dict(shapes):
            reason = "it holds other tensors"
        elif metadata.get("sha256") != _digest(tensors):
            reason = "its content is not what was written"
        else:
            return tensors
        _warn_unused(path, reason)
        return None

    def save(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the tensors under their key; where the folder cannot be written a notice says so."""
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"format": FORMAT, "key": _as_json(key), "sha256": _digest(stored)}
        path = self.path(key)
        try:
            make_folder(self.folder)
            write_file(path, safetensors.torch.save(stored, metadata=metadata))
        except UserError as error:
            warnings.warn(Notice(f"statistics of the real images cannot be kept: {error}"), stacklevel=2)


def _as_json(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        content.update(tensors[name].numpy().data)
    return content.hexdigest()


def _warn_unused(path: Path, reason: str) -> None:
    warnings.warn(
        Notice(f"{path}: not used, {' '.join(reason.split())}; its statistics are computed anew"), stacklevel=3
    )
