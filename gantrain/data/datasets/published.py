"""Published data sets as torchvision finds and downloads them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gantrain.errors import UserError


def find(dataset: str, root: Path, download: bool, files: str, **options: Any) -> Any:
    """torchvision's data set, downloaded if it is not there.

    Args:
        dataset: its class in ``torchvision.datasets``.
        root: the folder that holds it, or into which it is downloaded.
        download: whether it is.
        files: what ``root`` must hold, and where it can be had.
        options: of torchvision's class.

    Raises:
        UserError: it is not there, or damaged, and cannot be downloaded.
    """
    try:
        return _open(dataset, root, options)
    except RuntimeError as error:
        if not download:
            where = f"set data.download to true, or put {files} there"
            raise UserError(f"data.root: {dataset} is not in {str(root)!r}; {where}") from error
    _download(dataset, root, files, options)
    return _open(dataset, root, options)


def _open(dataset: str, root: Path, options: dict[str, Any], download: bool = False) -> Any:
    """torchvision's data set.

    Raises:
        RuntimeError: it is not there, or damaged.
    """
    from torchvision import datasets  # takes a second to import

    return getattr(datasets, dataset)(root, download=download, **options)


def _download(dataset: str, root: Path, files: str, options: dict[str, Any]) -> None:
    """Through a folder of its own, file by file into ``root``: what is there is whole, also after an interrupt."""
    created = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=root) as temporary:
            _open(dataset, Path(temporary), options, download=True)
            for file in sorted(p for p in Path(temporary).rglob("*") if p.is_file()):
                target = root / file.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except Exception as error:  # of gdown's there is no common class
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UserError(
            f"data.root: {dataset} is not in {str(root)!r} and cannot be downloaded ({reason}); "
            f"put {files} there, or use image_folder or image_archive"
        ) from error
    finally:
        for folder in created:
            with suppress(OSError):  # it is not empty: the download succeeded
                folder.rmdir()
