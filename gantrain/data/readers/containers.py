"""Containers of files, each of which is read by its name: folders, archives and databases.

All of them but a compressed tar give access to single files, in this process and in processes forked from it.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from gantrain.errors import UserError

Opened = TypeVar("Opened")
Name = TypeVar("Name", str, bytes)


class Container(ABC):
    """A collection of files that are read by their names.

    Attributes:
        path: the path of the container, for messages.
        random: whether a file can be read without reading all files before it.
    """

    random: bool

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The names of all files, as paths with slashes."""

    @abstractmethod
    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        """Each of these files in any order: its position in ``names``, and its content or the error of reading it."""


class RandomAccess(Container):
    """A container whose files can be read one by one."""

    random = True

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            Exception: the file cannot be read.
        """

    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        return ((i, _attempt(self.read, name)) for i, name in enumerate(names))


class Folder(RandomAccess):
    """The files in a folder and in all folders inside it, symbolic links included.

    Args:
        path: the path of the folder.
        part: a folder in it to which the files are confined; by default they are not.
    """

    def __init__(self, path: Path, part: str = ""):
        super().__init__(path)
        self._part = part

    def names(self) -> Iterator[str]:
        for folder, _, files in os.walk(self.path / self._part, followlinks=True):
            for file in files:
                yield Path(folder, file).relative_to(self.path).as_posix()

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


class Zip(RandomAccess):
    """A .zip archive."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._opened = PerProcess(lambda: zipfile.ZipFile(path))

    def names(self) -> Iterator[str]:
        with _damage(self.path, "zip"):
            yield from self._opened().namelist()

    def read(self, name: str) -> bytes:
        return self._opened().read(name)


class Tar(RandomAccess):
    """An uncompressed .tar archive, whose table of contents is read once."""

    def __init__(self, path: Path):
        super().__init__(path)
        with _damage(path, "tar"):
            _check_end(path)
            with tarfile.open(path, "r:") as archive:
                self._places = {m.name: (m.offset_data, m.size) for m in archive if m.isfile() and not m.issparse()}

    def names(self) -> Iterator[str]:
        return iter(self._places)

    def read(self, name: str) -> bytes:
        start, size = self._places[name]
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)


class CompressedTar(Container):
    """A compressed .tar archive, which can only be read from front to back."""

    random = False

    def names(self) -> Iterator[str]:
        with self._opened() as archive:
            yield from (member.name for member in archive if member.isfile())

    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        position = {name: i for i, name in enumerate(names)}
        with self._opened() as archive:
            for member in archive:
                if member.isfile() and member.name in position:
                    file = archive.extractfile(member)
                    assert file is not None  # as for every regular file
                    yield position[member.name], file.read()

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        with _damage(self.path, "tar"), tarfile.open(self.path, "r|*") as archive:
            yield archive


class Databases(Container):
    """LMDB databases, whose entries are files with the names ``database/key``.

    A database is open only while it is read: a process can open a database only once at a time, and a process forked
    in the meantime could not use it.

    Args:
        path: the folder that holds the databases.
        folders: the folder of each database, by the name with which its files' names begin.
    """

    random = True

    def __init__(self, path: Path, folders: Mapping[str, Path]):
        super().__init__(path)
        self._folders = dict(folders)

    def names(self) -> Iterator[str]:
        for name, folder in self._folders.items():
            with _transaction(folder) as transaction:
                for key in transaction.cursor().iternext(keys=True, values=False):
                    yield f"{name}/{os.fsdecode(key)}"

    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        with ExitStack() as opened:
            transactions: dict[str, Any] = {}
            for i, name in enumerate(names):
                database, _, key = name.partition("/")
                if database not in transactions:
                    transactions[database] = opened.enter_context(_transaction(self._folders[database]))
                yield i, _attempt(transactions[database].get, os.fsencode(key))


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
    """Open a .zip or .tar archive, whichever ``path`` is.

    Raises:
        UserError: the file is no such archive, or is damaged.
    """
    if path.suffix.lower() == ".zip":
        return Zip(path)
    with path.open("rb") as file:
        uncompressed = file.read(512)[257:262] == b"ustar"
    return Tar(path) if uncompressed else CompressedTar(path)


@contextmanager
def _damage(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"data.path: {path} is not a {kind} archive, or is damaged ({error})") from error


def _check_end(path: Path) -> None:
    """Check that an uncompressed tar ends with blocks of zeros; tarfile may not notice that its end is missing.

    Raises:
        tarfile.ReadError: the end is missing.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        if any(file.read()):
            raise tarfile.ReadError("its end is missing")


@contextmanager
def _transaction(folder: Path) -> Iterator[Any]:
    import lmdb

    with (
        lmdb.open(str(folder), max_readers=1, readonly=True, lock=False, readahead=False, meminit=False) as database,
        database.begin() as transaction,
    ):
        yield transaction


def _attempt(read: Callable[[Name], bytes], name: Name) -> bytes | Exception:
    try:
        return read(name)
    except Exception as error:
        return error
