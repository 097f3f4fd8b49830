"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gantrain.errors import UserError


def write_file(path: str | Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file under a temporary name beside ``path`` and rename it.

    Whenever the process dies, the file at ``path`` is the old one or the new one. Several processes may write to one
    path at the same time, since each has a temporary name of its own.

    Args:
        path: the path of the file; an earlier file is replaced.
        content: text is encoded as UTF-8.
        durable: whether the file is synchronised to the disk before the rename and its folder after it, so that the
            file survives a failure of the power as well. Costs some milliseconds.

    Raises:
        OSError: the file cannot be written; the error bears the name ``path``.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
    if durable:
        _synchronise(path.parent)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading, and never wait: a FIFO, a device or a socket is refused, also behind a link.

    Args:
        path: the path of the file.

    Raises:
        OSError: the file cannot be opened, or is not a regular file; ``strerror`` says what it is.
    """
    _require_regular(path, os.stat(path).st_mode)  # before the file is opened, which some devices would notice
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular_files(folder: Path, key: str) -> None:
    """Refuse a folder with a FIFO, device or socket in it, before a library opens all its files.

    Args:
        folder: the folder; those inside it are not looked into.
        key: the key of the config with which the error message begins.

    Raises:
        UserError: there is one.
    """
    for file in folder.iterdir():
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise UserError(f"{key}: {file} is a FIFO, device or socket, expected only files; move it elsewhere")


def write_csv(path: str | Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as a CSV file with commas, the first row being the header."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    write_file(path, stream.getvalue())


@contextmanager
def replacing_folder(path: Path, durable: bool = False) -> Iterator[Path]:
    """Give the block an empty folder ``NAME.tmp`` to fill, which takes the place of ``path`` when the block ends.

    If the block raises, the folder ``NAME.tmp`` is deleted and the one at ``path`` stays. Only one process may do this
    for one path at a time; what a killed one has left at ``NAME.tmp`` is deleted first.

    Args:
        path: the path of the folder; an earlier folder is replaced. Missing folders above it are made.
        durable: whether files and folder are synchronised to the disk before the rename.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if durable:
            for file in temporary.iterdir():
                _synchronise(file)
            _synchronise(temporary)
        replaced = _set_aside(path) if path.exists() else None
        os.rename(temporary, path)
        if durable:
            _synchronise(path.parent)
        if replaced is not None:
            shutil.rmtree(replaced)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder, renamed to ``NAME.old.tmp`` first: no half-deleted folder keeps the name."""
    shutil.rmtree(_set_aside(path))


@contextmanager
def explaining_write_errors(folder: Path) -> Iterator[None]:
    """Make ``folder`` where it is missing, and turn the system's errors in the block into one line about the folder.

    Raises:
        UserError: the system does not let the folder be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def require_free(folder: Path, mark: str, results: str, kind: str) -> None:
    """Refuse to write results over anything but earlier results of their kind.

    Args:
        folder: in which the results would lie.
        mark: the name of a file that every folder of such results has.
        results: the name of the results in the message.
        kind: the name of a folder of such results in the message.

    Raises:
        UserError: the folder is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and {results} would lie there; choose another name or --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise UserError(f"{folder}: exists and is not {kind}; choose another name or --output")


def _require_regular(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, expected a file", str(path))
    if not stat.S_ISREG(mode):
        kind = "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OSError(errno.EINVAL, f"is {kind}, expected a file", str(path))


def _set_aside(folder: Path) -> Path:
    return folder.rename(folder.with_name(f"{folder.name}.old.tmp"))


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
