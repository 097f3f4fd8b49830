"""Containers of files, each of which is read by its name: folders, archives and databases.

All of them but a compressed tar give access to single files, in this process and in processes forked from it. Only
regular files are opened, and no file is unpacked beyond a bound, so that nothing in a container can make a reader wait
or take the memory.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

from gantrain.data.readers.databases import Damaged, read_table
from gantrain.data.readers.magic import START, kind_of
from gantrain.errors import UserError
from gantrain.utils.io import open_regular
from gantrain.utils.system_files import is_hidden_or_system

Opened = TypeVar("Opened")

# The largest size in bytes of a file in a container, unpacked. No image is larger that could be trained on.
LARGEST = 2**28
# A compressed tar may unpack to as many times its own size, but at least to as many bytes.
_RATIO, _AT_LEAST = 200, 2**30
# The number of ways on which links may lead to one folder; without a bound they could be more than can be counted.
_WAYS = 100
# Nanoseconds after which a further change of a file shows in its times, however coarse the clock of a file system.
_SETTLED = 2 * 10**9
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# Readers of the compressions of a tar, by the bytes with which a file begins.
_COMPRESSIONS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x5d\0\0": lzma.LZMAFile,
}


class Entry(NamedTuple):
    """A file in a container, or something else that has a name there.

    Attributes:
        name: the name by which the container reads it.
        odd: a word for what it is if it is no regular file, such as "linked"; None for a file.
    """

    name: str
    odd: str | None = None


class Container(ABC):
    """A collection of files that are read by their names.

    Attributes:
        path: the path of the container, for messages.
        random: whether a file can be read without reading all files before it.
    """

    random: bool

    def __init__(self, path: Path):
        self.path = path
        self._opened_at = time.time_ns()

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """All files, and what else has a name. Names are paths with slashes, or with backslashes in some archives."""

    @abstractmethod
    def contents(self, names: Sequence[str], start: int | None = None) -> Iterator[tuple[int, bytes | Exception]]:
        """Each of these files in any order: its position in ``names``, and its content or the error of reading it.

        Args:
            names: the names of the files.
            start: the number of bytes that are read from each file. By default the whole file is, unless it is larger
                than ``LARGEST``, which is an error.
        """

    @abstractmethod
    def sizes(self, names: Sequence[str]) -> list[int]:
        """The size of each of these files in bytes; -1 for a file that is missing. The files are not read."""

    def places(self, names: Sequence[str]) -> list[Path]:
        """The files on the disk in which these files lie: by default the container itself."""
        return [self.path]

    def stamp(self, names: Sequence[str]) -> bytes | None:
        """A digest of these names, and of the sizes and times of the files in which they lie; nothing is read.

        As long as it stays the same, so does the content of the files. The times are those of the last change of the
        content and of the last change of either content or attributes: the latter cannot be set back.

        Returns:
            The digest; None if a file is missing, or has changed since two seconds before the container was opened:
            it might have changed again without a trace.
        """
        found = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
        for place in self.places(names):
            try:
                status = os.stat(place)
            except OSError:
                return None
            if max(status.st_mtime_ns, status.st_ctime_ns) > self._opened_at - _SETTLED:
                return None
            found.update(f"\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}".encode())
        return found.digest()


class RandomAccess(Container):
    """A container whose files can be read one by one."""

    random = True

    @abstractmethod
    def read(self, name: str, most: int) -> bytes:
        """The content of a file, or the first ``most`` bytes of it.

        Raises:
            Exception: the file cannot be read.
        """

    def contents(self, names: Sequence[str], start: int | None = None) -> Iterator[tuple[int, bytes | Exception]]:
        return ((i, self._attempt(name, start)) for i, name in enumerate(names))

    def _attempt(self, name: str, start: int | None) -> bytes | Exception:
        try:
            # Before it is unpacked, in the hope that its size is given truly.
            if start is None and self.sizes([name])[0] > LARGEST:
                return _too_large()
            return _bounded(partial(self.read, name), start)
        except Exception as error:
            return error


class Folder(RandomAccess):
    """The files in a folder and in all folders inside it, symbolic links included.

    Hidden folders and those of operating systems are not looked into.

    Args:
        path: the path of the folder.
        part: a folder in it to which the files are confined; by default they are not.
    """

    def __init__(self, path: Path, part: str = ""):
        super().__init__(path)
        self._part = part

    def entries(self) -> Iterator[Entry]:
        pending: list[tuple[str, frozenset[tuple[int, int]]]] = [(self._part, frozenset())]
        ways: Counter[tuple[int, int]] = Counter()
        while pending:
            folder, above = pending.pop()
            try:
                status = os.stat(self.path / folder)
                place = status.st_dev, status.st_ino
                if place in above or ways[place] == _WAYS:
                    yield Entry(folder, "linked in a circle")
                    continue
                ways[place] += 1
                with os.scandir(self.path / folder) as found:
                    inside = sorted((entry.name, _kind(entry)) for entry in found)
            except OSError as error:
                raise UserError(
                    f"data: the folder {self.path / folder} cannot be read: {error.strerror}; "
                    "change its permissions, or move it elsewhere"
                ) from error
            for name, kind in inside:
                path = f"{folder}/{name}" if folder else name
                if kind == "folder" and not is_hidden_or_system(name):
                    pending.append((path, above | {place}))
                else:
                    yield Entry(path, None if kind in ("file", "folder") else kind)

    def read(self, name: str, most: int) -> bytes:
        with open_regular(self.path / name) as file:
            # A buffer is made for as many bytes as are asked for.
            return file.read(min(os.fstat(file.fileno()).st_size, most))

    def sizes(self, names: Sequence[str]) -> list[int]:
        return [_size(self.path / name) for name in names]

    def places(self, names: Sequence[str]) -> list[Path]:
        return [self.path / name for name in names]


class Zip(RandomAccess):
    """A .zip archive."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._opened = PerProcess(lambda: zipfile.ZipFile(path))
        with _damage(path, "zip"):
            members = [member for member in self._opened().infolist() if not member.is_dir()]
        for member in members:
            if member.flag_bits & 1:
                raise UserError(f"data.path: {path} is encrypted; unpack it, and use image_folder")
            if member.compress_type not in _ZIP_METHODS:
                raise UserError(
                    f"data.path: {path} is compressed by method {member.compress_type}, which Python cannot read; "
                    "unpack it and use image_folder, or zip it again by Deflate"
                )

    def entries(self) -> Iterator[Entry]:
        for member in self._opened().infolist():
            if not member.filename.endswith(("/", "\\")):
                link = stat.S_ISLNK(member.external_attr >> 16)
                yield Entry(member.filename, "linked" if link else None)

    def read(self, name: str, most: int) -> bytes:
        with self._opened().open(name) as file:
            return file.read(most)

    def sizes(self, names: Sequence[str]) -> list[int]:
        return [self._opened().getinfo(name).file_size for name in names]


class Tar(RandomAccess):
    """An uncompressed .tar archive, whose table of contents is read once."""

    def __init__(self, path: Path):
        super().__init__(path)
        with _damage(path, "tar"):
            _check_end(path)
            with tarfile.open(path, "r:") as archive:
                members = [member for member in archive if not member.isdir()]
        self._entries = [Entry(member.name, _odd(member)) for member in members]
        self._places = {m.name: (m.offset_data, m.size) for m in members if _odd(m) is None}

    def entries(self) -> Iterator[Entry]:
        return iter(self._entries)

    def read(self, name: str, most: int) -> bytes:
        start, size = self._places[name]
        with open_regular(self.path) as file:
            file.seek(start)
            return file.read(min(size, most))

    def sizes(self, names: Sequence[str]) -> list[int]:
        return [self._places[name][1] for name in names]


class CompressedTar(Container):
    """A compressed .tar archive, which can only be read from front to back. Its sizes are known after its entries.

    Args:
        path: the path of the archive.
        decompress: makes a file of uncompressed bytes of the opened archive.
    """

    random = False

    def __init__(self, path: Path, decompress: Callable[[BinaryIO], Any]):
        super().__init__(path)
        self._decompress = decompress
        self._sizes: dict[str, int] = {}

    def entries(self) -> Iterator[Entry]:
        with self._opened() as archive:
            for member in archive:
                if member.size > LARGEST:  # which would have to be unpacked to reach the files behind it
                    raise UserError(
                        f"data.path: {member.name} in {self.path} has more than {LARGEST >> 20} MiB, the largest size "
                        "of a file in a compressed tar; unpack it and use image_folder, or leave the file out"
                    )
                if not member.isdir():
                    self._sizes[member.name] = member.size
                    yield Entry(member.name, _odd(member))

    def contents(self, names: Sequence[str], start: int | None = None) -> Iterator[tuple[int, bytes | Exception]]:
        position = {name: i for i, name in enumerate(names)}
        if not position:
            return
        with self._opened() as archive:
            for member in archive:
                if _odd(member) is None and member.name in position:
                    file = archive.extractfile(member)
                    assert file is not None  # as for every regular file
                    size = member.size  # at most LARGEST, or the entries could not have been listed
                    yield position[member.name], file.read(size if start is None else min(start, size))

    def sizes(self, names: Sequence[str]) -> list[int]:
        return [self._sizes[name] for name in names]

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        with _damage(self.path, "tar"), open_regular(self.path) as file:
            limit = max(_AT_LEAST, _RATIO * os.fstat(file.fileno()).st_size)
            stream: Any = _Limited(self._decompress(file), limit, self.path)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                yield archive


class Databases(RandomAccess):
    """LMDB databases, whose entries are files with the names ``database/key``.

    Args:
        path: the folder that holds the databases.
        folders: the folder of each database, by the name with which its files' names begin.

    Raises:
        UserError: a database cannot be read, or is damaged.
    """

    def __init__(self, path: Path, folders: Mapping[str, Path]):
        super().__init__(path)
        self._files = {name: folder / "data.mdb" for name, folder in folders.items()}
        self._tables = {}
        for name, file in self._files.items():
            try:
                self._tables[name] = read_table(file)
            except OSError as error:
                raise UserError(f"data.root: {file} cannot be read: {error.strerror}") from error
            except Damaged as error:
                raise UserError(f"data.root: {file} is damaged: {error}; copy or download it again") from error

    def entries(self) -> Iterator[Entry]:
        for name, table in self._tables.items():
            yield from (Entry(f"{name}/{os.fsdecode(key)}") for key in table.keys.tolist())

    def read(self, name: str, most: int) -> bytes:
        start, size = self._place(name)
        with open_regular(self._files[name.partition("/")[0]]) as file:
            file.seek(start)
            return file.read(min(size, most))

    def sizes(self, names: Sequence[str]) -> list[int]:
        return [self._place(name)[1] for name in names]

    def places(self, names: Sequence[str]) -> list[Path]:
        return [*self._files.values()]

    def _place(self, name: str) -> tuple[int, int]:
        database, _, key = name.partition("/")
        return self._tables[database].find(os.fsencode(key))


class _Limited:
    """A stream that gives no more than a number of bytes, against archives that unpack without end."""

    def __init__(self, stream: Any, limit: int, path: Path):
        self._stream = stream
        self._left = limit
        self._path = path

    def read(self, size: int) -> bytes:
        content: bytes = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise UserError(
                f"data.path: {self._path} unpacks to more than {_RATIO} times its size, as no archive of images does"
            )
        return content


class PerProcess(Generic[Opened]):
    """An object that each process opens for itself when it first needs it.

    Forked processes would otherwise share one position in an open file.

    Args:
        open: returns the opened object.
    """

    def __init__(self, open: Callable[[], Opened]):
        self._open = open
        self._held: tuple[int, Opened] | None = None

    def __call__(self) -> Opened:
        if self._held is None or self._held[0] != os.getpid():
            self._held = os.getpid(), self._open()
        return self._held[1]


def open_archive(path: Path) -> Container:
    """Open a zip or tar archive, whichever ``path`` is; its name does not count.

    Raises:
        UserError: the file is no such archive, or is damaged.
    """
    try:
        with open_regular(path) as file:
            start = file.read(START)
    except OSError as error:
        raise UserError(f"data.path: {path} cannot be read: {error.strerror}") from error
    for mark, decompress in _COMPRESSIONS.items():
        if start.startswith(mark):
            return CompressedTar(path, decompress)
    kind = kind_of(start)
    if start[257:262] == b"ustar" or (kind is None and start and tarfile.is_tarfile(path)):
        return Tar(path)
    if zipfile.is_zipfile(path) or start.startswith(b"PK\x03\x04"):
        return Zip(path)
    name = "no archive that gantrain knows" if kind is None else kind.name
    if kind is not None and kind.group == "archive":
        raise UserError(
            f"data.path: {path} is {name}, expected a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz archive; unpack it and "
            "use image_folder, or make a .zip or plain .tar of it"
        )
    if kind is not None and kind.group == "image":
        raise UserError(f"data.path: {path} is {name}, expected an archive; put images into a folder for image_folder")
    expected = "zip" if path.suffix.lower() == ".zip" else "tar"
    raise UserError(f"data.path: {path} is not a {expected} archive, or is damaged (it is {name})")


@contextmanager
def _damage(path: Path, kind: str) -> Iterator[None]:
    errors = (zipfile.BadZipFile, NotImplementedError, tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error)
    try:
        yield
    except (*errors, ValueError) as error:
        raise UserError(f"data.path: {path} is not a {kind} archive, or is damaged ({error})") from error


def _check_end(path: Path) -> None:
    """Check that an uncompressed tar ends with blocks of zeros; tarfile may not notice that its end is missing.

    Raises:
        tarfile.ReadError: the end is missing.
    """
    with open_regular(path) as file:
        file.seek(max(0, path.stat().st_size - 1024))
        if any(file.read()):
            raise tarfile.ReadError("its end is missing")


def _kind(entry: os.DirEntry[str]) -> str:
    """ "folder", "file" (also for a link that leads nowhere, which is an error once it is read), or what it is."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file() or not os.path.exists(entry.path):
            return "file"
    except OSError:
        return "linked in a circle"
    return "special: FIFO, device or socket"


def _odd(member: tarfile.TarInfo) -> str | None:
    if member.issparse():
        return "sparse"
    return None if member.isfile() else "linked" if member.islnk() or member.issym() else "special: FIFO or device"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _bounded(read: Callable[[int], bytes], start: int | None) -> bytes | Exception:
    """What ``read`` gives of a file: the whole of it, or its first ``start`` bytes."""
    content = read(LARGEST + 1 if start is None else start)
    return _too_large() if len(content) > LARGEST else content


def _too_large() -> ValueError:
    return ValueError(f"it has more than {LARGEST >> 20} MiB, the largest size of an image file")
