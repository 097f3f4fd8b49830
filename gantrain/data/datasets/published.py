"""Published data sets that torchvision reads and downloads."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gantrain.config.paths import in_current_directory, lacking
from gantrain.config.shipped import is_missing
from gantrain.errors import NotFound
from gantrain.utils.host_lock import one_at_a_time
from gantrain.utils.io import require_regular_files


def find(dataset: str, root: Path, download: bool, files: str, folder: str = "", **options: Any) -> Any:
    """Open one of torchvision's data sets, and download it first if it is not in ``root``.

    Args:
        dataset: the name of the class in ``torchvision.datasets``.
        root: the folder that holds the data set, or into which it is downloaded.
        download: whether the data set may be downloaded.
        files: the files that ``root`` must hold and where to get them, as error messages say it.
        folder: the folder in ``root`` that holds the data set, where torchvision's class does not name it.
        options: further arguments of torchvision's class.

    Raises:
        UserError: the data set is missing or damaged, and cannot be downloaded or may not be.
    """
    try:
        return _open(dataset, root, folder, options)
    except RuntimeError as error:
        if not download:
            where = f"set data.download to true, or put {files} there"
            raise lacking("data.root", dataset, root, where) from error
        _require_new(dataset, root, folder, options)
    _download(dataset, root, files, folder, options)
    return _open(dataset, root, folder, options)


def _open(dataset: str, root: Path, folder: str, options: dict[str, Any], download: bool = False) -> Any:
    """An object of torchvision's class.

    Raises:
        RuntimeError: the data set is missing or damaged.
        UserError: a FIFO or the like, for which torchvision would wait, lies among the files.
    """
    from torchvision import datasets  # takes a second to import

    kind = getattr(datasets, dataset)
    for place in (root / (folder or getattr(kind, "base_folder", "")), root / dataset / "raw"):
        if place.is_dir():
            require_regular_files(place, "data.root")
    try:
        return kind(root, download=download, **options)
    except FileNotFoundError as error:
        raise RuntimeError(f"{error.filename} is missing") from error


def _require_new(dataset: str, root: Path, folder: str, options: dict[str, Any]) -> None:
    """Refuse to download a data set that the current directory has at the path which ``root`` ends in."""
    there = in_current_directory(root) if is_missing(root) else None
    if there is not None:
        with suppress(RuntimeError):
            _open(dataset, there, folder, options)
            raise lacking(
                "data.root", dataset, root, f"write {str(there)!r}, or make the folder to have it downloaded there"
            )


def _is_there(dataset: str, root: Path, folder: str, options: dict[str, Any]) -> bool:
    """Whether the data set is in ``root``, as it is where another process has downloaded it meanwhile."""
    try:
        _open(dataset, root, folder, options)
    except RuntimeError:
        return False
    return True


def _download(dataset: str, root: Path, files: str, folder: str, options: dict[str, Any]) -> None:
    """Download into a temporary folder and move file by file into ``root``, which so never holds parts of files.

    Of the processes of a host one does so, and the others wait for it.
    """
    created = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(root):
            if not _is_there(dataset, root, folder, options):
                with TemporaryDirectory(prefix=".download-", dir=root) as temporary:
                    _open(dataset, Path(temporary), folder, options, download=True)
                    for file in sorted(p for p in Path(temporary).rglob("*") if p.is_file()):
                        target = root / file.relative_to(temporary)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        os.replace(file, target)
    except Exception as error:  # gdown's errors have no common class
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise NotFound(
            f"data.root: {dataset} is not in {os.path.abspath(root)!r} and cannot be downloaded ({reason}); "
            f"put {files} there, or use image_folder or image_archive"
        ) from error
    finally:
        for made in created:
            with suppress(OSError):  # the folder is not empty, since the download succeeded
                made.rmdir()
