"""Weights of published networks: found on this machine or downloaded, and never used unless their SHA-256 is right."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gantrain.errors import UserError

_log = logging.getLogger(__name__)

# Seconds without an answer after which a download is given up.
_PATIENCE = 30
_SHORTEST_DIGEST = 8


@dataclass(frozen=True)
class Weights:
    """A file of weights that is published.

    Attributes:
        title: what messages call it.
        url: where it is.
        digest: its SHA-256, or the beginning of it.
        instead: what to do where it cannot be had.
    """

    title: str
    url: str
    digest: str
    instead: str

    @property
    def cached(self) -> Path:
        """Where torch.hub, and so torch-fidelity, keeps it."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def read(self, path: str | Path | None = None, digest: str | None = None) -> bytes:
        """The content of the file.

        Args:
            path: of the file; by default torch.hub's folder is looked in, and then the file is downloaded into it.
            digest: vouches for other weights at ``path``: the SHA-256 they must have, or its first 8 or more digits.

        Raises:
            UserError: there is no such file and it cannot be downloaded, or its SHA-256 is another.
        """
        if path is not None:
            return self._checked(Path(path), digest)
        if digest is not None:
            raise UserError("digest: vouches for a file of weights; say which, with weights")
        if self.cached.exists():
            return self._checked(self.cached, None)
        return self._downloaded()

    def _checked(self, path: Path, digest: str | None) -> bytes:
        if digest is not None:
            digest = digest.lower()
            if len(digest) < _SHORTEST_DIGEST or set(digest) - set("0123456789abcdef"):
                raise UserError(
                    f"digest: expected {_SHORTEST_DIGEST} to 64 hexadecimal digits of a SHA-256, got {digest!r}"
                )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: the {self.title} cannot be read: {error.strerror or error}") from error
        found = sha256(content)
        if found.startswith(digest or self.digest):
            return content
        if digest is not None:
            raise UserError(f"{path}: its SHA-256 is {found[:16]}… and not {digest}…; another file, or a damaged one")
        raise UserError(
            f"{path}: damaged, or not the {self.title}: its SHA-256 begins {found[:8]} instead of {self.digest[:8]}; "
            f"replace it by {self.url}"
        )

    def _downloaded(self) -> bytes:
        _log.warning("downloading the %s from %s", self.title, self.url)
        try:
            with urllib.request.urlopen(self.url, timeout=_PATIENCE) as answer:
                content = answer.read()
            reason = None if sha256(content).startswith(self.digest) else "what arrived has another SHA-256"
        except OSError as error:
            reason = " ".join(str(error).split())
        if reason is not None:
            raise UserError(
                f"{self.title}: not on this machine, and the download failed ({reason}); put {self.url} into "
                f"{self.cached.parent}, or {self.instead}"
            )
        _keep(content, self.cached)
        return content


def state_dict(content: bytes, where: str) -> dict[str, Any]:
    """The tensors of a file that torch.save wrote; nothing in it is executed.

    Raises:
        UserError: it holds something else.
    """
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{where}: holds more than tensors and could run code, so it is not opened") from error
    except Exception as error:
        raise UserError(f"{where}: not a file of weights ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"{where}: expected a state dict, names with tensors")
    return found


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keep(content: bytes, path: Path) -> None:
    """Write the file whole or not at all; where that is not possible it is downloaded again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        _log.warning("%s: cannot be kept: %s", path, error)
