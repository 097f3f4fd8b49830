"""Files and folders that appear whole or not at all, and the one line about what cannot be written."""

from __future__ import annotations

import csv
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gantrain.errors import UserError
from gantrain.utils.system_files import is_system_file

# A part of a file's content: bytes, or a view of bytes that lie in a row.
Piece = bytes | memoryview

_ROOM = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
}


def write_file(path: str | Path, content: str | bytes | Sequence[Piece], durable: bool = False) -> None:
    """Write a file under a temporary name beside ``path`` and rename it.

    Whenever the process dies, the file at ``path`` is the old one or the new one. Several processes may write to one
    path at the same time, since each has a temporary name of its own.

    Args:
        path: the path of the file; an earlier file is replaced.
        content: text is encoded as UTF-8; pieces are written one after the other, from where they lie in memory.
        durable: whether the file is synchronised to the disk before the rename and its folder after it, so that the
            file survives a failure of the power as well. Costs some milliseconds.

    Raises:
        UserError: the file cannot be written. The line names it, and the bytes for which there is no room.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with explaining_write_errors(path):
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise OSError(errno.EINVAL, "it is a device or a pipe, which no file replaces")
            stream = temporary.open("xb", buffering=0)
        with stream:
            append(stream, content.encode("utf-8") if isinstance(content, str) else content, path)
            with explaining_write_errors(path):
                if durable:
                    os.fsync(stream.fileno())
        with explaining_write_errors(path):
            os.replace(temporary, path)
            if durable:
                _synchronise(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def append(stream: BinaryIO, content: bytes | Sequence[Piece], path: Path) -> None:
    """Append to an unbuffered file all of the content, which may come in pieces, or nothing.

    Raises:
        UserError: the content cannot be written. The line names ``path``, and the bytes for which there is no room.
    """
    pieces = [content] if isinstance(content, bytes) else content
    start, written = stream.seek(0, os.SEEK_END), 0
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                count = stream.write(left)
                written, left = written + count, left[count:]
    except OSError as error:
        with suppress(OSError):
            stream.truncate(start)
        raise _cannot_be_written(path, error, sum(map(len, pieces)), written) from error


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


def make_folder(folder: Path, durable: bool = False, parents: bool = True) -> None:
    """Make a folder and those above it, where they are missing.

    Args:
        folder: the folder.
        durable: whether the new folders are synchronised to the disk.
        parents: whether folders above it are made. If false, a folder comes only into one that exists.

    Raises:
        UserError: the system does not let the folder be made.
    """
    with explaining_write_errors(folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=parents, exist_ok=True)
        for each in missing if durable else ():
            _synchronise(each.parent)


@contextmanager
def replacing_folder(path: Path, durable: bool = False, parents: bool = True) -> Iterator[Path]:
    """Give the block an empty folder ``NAME.tmp`` to fill, which takes the place of ``path`` when the block ends.

    If the block raises, the folder ``NAME.tmp`` is deleted and the one at ``path`` stays. Only one process may do this
    for one path at a time; what a killed one has left at ``NAME.tmp`` is deleted first. While the two folders change
    places, the earlier one is at ``NAME.old.tmp``; see :func:`bring_back`.

    Args:
        path: the path of the folder; an earlier folder is replaced, and anything else there is set aside.
        durable: whether files and folder are synchronised to the disk before the rename.
        parents: whether missing folders above it are made.

    Raises:
        UserError: the folder cannot be written.
    """
    temporary, old = path.with_name(f"{path.name}.tmp"), replaced(path)
    bring_back(path)
    delete(temporary)
    try:
        make_folder(temporary, durable, parents)
        yield temporary
        with explaining_write_errors(path):
            if durable:
                for file in temporary.iterdir():
                    _synchronise(file)
                _synchronise(temporary)
            if path.is_dir() and not path.is_symlink():
                os.rename(path, old)
            elif os.path.lexists(path):
                set_aside(path, "damaged")
            os.rename(temporary, path)
            if durable:
                _synchronise(path.parent)
        delete(old)
    finally:
        bring_back(path)
        delete(temporary)


def replaced(path: Path) -> Path:
    """Where :func:`replacing_folder` keeps the earlier folder until the new one has its name."""
    return path.with_name(f"{path.name}.old.tmp")


def bring_back(path: Path) -> None:
    """Finish or undo a replacement during which a process was killed: afterwards there is no ``NAME.old.tmp``.

    The earlier folder gets its name back where no new one has it.
    """
    old = replaced(path)
    if not old.is_dir():
        return
    if path.exists():
        delete(old)
    else:
        with explaining_write_errors(path):
            os.rename(old, path)


def remove_folder(path: Path) -> None:
    """Delete a folder, renamed to ``NAME.deleted.tmp`` first: no half-deleted folder keeps the name."""
    deleted = path.with_name(f"{path.name}.deleted.tmp")
    delete(deleted)
    with explaining_write_errors(path):
        os.rename(path, deleted)
    # What cannot be deleted now, since others have it open on a file server, is deleted the next time.
    delete(deleted)


def delete(path: Path) -> None:
    """Delete a folder as far as the system allows, or whatever lies in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:  # rmtree would open it, and wait at a FIFO
        with suppress(OSError):
            path.unlink(missing_ok=True)


def set_aside(path: Path, reason: str) -> Path:
    """Rename a file or folder to ``NAME.REASON``, or ``NAME.REASON-2`` and so on if there is one; returns its path."""
    number, aside = 1, path.with_name(f"{path.name}.{reason}")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{reason}-{number}")
    with explaining_write_errors(path):
        return path.rename(aside)


@contextmanager
def explaining_write_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors in the block into one line about the file or folder that could not be written.

    Raises:
        UserError: the system does not let the file be written.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_be_written(path, error) from error


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
    others = folder.is_dir() and any(not is_system_file(entry.name) for entry in folder.iterdir())
    if others and not (folder / mark).is_file():
        raise UserError(f"{folder}: exists and is not {kind}; choose another name or --output")


def _require_regular(path: str | Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, expected a file", str(path))
    if not stat.S_ISREG(mode):
        kind = "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OSError(errno.EINVAL, f"is {kind}, expected a file", str(path))


def _cannot_be_written(path: Path, error: OSError, size: int = 0, written: int = 0) -> UserError:
    missing = f"; {size - written:,} of its {size:,} bytes are missing" if error.errno in _ROOM and size else ""
    advice = f"; {_ROOM[error.errno]}" if error.errno in _ROOM else ""
    return UserError(f"{path}: cannot be written: {error.strerror or error}{missing}{advice}")


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not know how to synchronise a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
