"""Weights of published networks: read from this machine or downloaded, and used only if their SHA-256 is right."""

from __future__ import annotations

import hashlib
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch

from gantrain.config.paths import nothing_at
from gantrain.config.shipped import is_missing
from gantrain.errors import NotFound, Notice, UserError
from gantrain.utils.host_lock import one_at_a_time
from gantrain.utils.io import make_folder, open_regular, write_file

# Seconds without an answer after which a download is given up.
_PATIENCE = 30
_SHORTEST_DIGEST = 8


@dataclass(frozen=True)
class Weights:
    """A published file of weights.

    Attributes:
        title: the name of the file in messages.
        url: where the file is downloaded from.
        digest: the SHA-256 of the file, or its first digits.
        instead: the advice of a message, where the file cannot be had.
        file: the name of the file in torch.hub's folder; empty for the last part of the address.
    """

    title: str
    url: str
    digest: str
    instead: str
    file: str = ""

    @property
    def cached(self) -> Path:
        """The path at which torch.hub, and so torch-fidelity, keeps the file."""
        return Path(torch.hub.get_dir()) / "checkpoints" / (self.file or self.url.rpartition("/")[2])

    def read(self, path: str | Path | None = None, digest: str | None = None) -> bytes:
        """The content of the file.

        Args:
            path: the path of the file. By default the file is taken from torch.hub's folder, and downloaded into that
                folder where it is missing, by one process of a host at a time.
            digest: the SHA-256 of weights at ``path`` that are not the published ones, or its first 8 or more digits.

        Raises:
            UserError: there is no such file and it cannot be downloaded, or the file has another SHA-256.
        """
        if path is not None:
            return self._checked(Path(path), digest)
        if digest is not None:
            raise UserError("digest: is that of a file of weights; name the file with weights")
        if not self.cached.exists():
            with one_at_a_time(self.cached.parent):
                if not self.cached.exists():  # as it may by now, from another process
                    return self._downloaded()
        return self._checked(self.cached, None)

    def _checked(self, path: Path, digest: str | None) -> bytes:
        if digest is not None:
            digest = digest.lower()
            if len(digest) < _SHORTEST_DIGEST or set(digest) - set("0123456789abcdef"):
                raise UserError(
                    f"digest: expected {_SHORTEST_DIGEST} to 64 hexadecimal digits of a SHA-256, got {digest!r}"
                )
        if is_missing(path):
            raise NotFound(f"{path}: the {self.title} cannot be read: {nothing_at(path)}")
        try:
            with open_regular(path) as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"{path}: the {self.title} cannot be read: {error.strerror or error}") from error
        actual = sha256(content)
        if actual.startswith(digest or self.digest):
            return content
        if digest is not None:
            raise UserError(f"{path}: its SHA-256 is {actual[:16]}… and not {digest}…; another file, or a damaged one")
        raise UserError(
            f"{path}: damaged, or not the {self.title}: its SHA-256 begins {actual[:8]} instead of {self.digest[:8]}; "
            f"replace it by {self.url}"
        )

    def _downloaded(self) -> bytes:
        warnings.warn(Notice(f"downloading the {self.title} from {self.url}"), stacklevel=2)
        try:
            with urllib.request.urlopen(self.url, timeout=_PATIENCE) as answer:
                content = answer.read()
            reason = None if sha256(content).startswith(self.digest) else "what arrived has another SHA-256"
        except (OSError, HTTPException) as error:  # the latter if the connection breaks off, or the answer is none
            reason = " ".join(str(error).split())
        if reason is not None:
            raise UserError(
                f"{self.title}: not on this machine, and the download failed ({reason}); put {self.url} "
                f"{f'at {self.cached}' if self.file else f'into {self.cached.parent}'}, or {self.instead}"
            )
        _keep(content, self.cached)
        return content


# Precision and recall compare its features, and LPIPS is made of them.
VGG16_WEIGHTS = Weights(
    title="weights of torchvision's VGG-16",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    digest="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    instead="give its path as weights, or use other features, such as features: inception or those of a classifier of "
    "your own, features: checkpoints/CLASSIFIER",
)


def sha256(content: bytes) -> str:
    """The SHA-256 of the content in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _keep(content: bytes, path: Path) -> None:
    """Write a downloaded file; where its folder cannot be written, the file is downloaded again next time."""
    try:
        make_folder(path.parent)
        write_file(path, content)
    except UserError as error:
        warnings.warn(Notice(f"the downloaded file cannot be kept: {error}"), stacklevel=2)
