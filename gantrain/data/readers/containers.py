"""Where files lie, each read by its name: a folder, an archive, a database.

All but a compressed tar can be read at any place, by this process and by those that are forked from it.
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
from typing import Any

from gantrain.errors import UserError


class Container(ABC):
    """Files by name.

    Attributes:
        path: of the container, for messages.
        random: whether single files can be read without reading all before them.
    """

    random: bool

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The names of all files, with slashes."""

    @abstractmethod
    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        """Those files in any order: their positions in ``names``, with their content or what is wrong with it."""


class RandomAccess(Container):
    """Files that can be read one by one."""

    random = True

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            Exception: it cannot be read.
        """

    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        return ((i, _attempt(self.read, name)) for i, name in enumerate(names))


class Folder(RandomAccess):
    """A folder and those in it, also linked ones.

    Args:
        path: of the folder.
        part: the folder in it to which the files are confined; all by default.
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
        self._opened = OfThisProcess(lambda: zipfile.ZipFile(path))

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
    """A compressed .tar archive: a stream that is read from front to back."""

    random = False

    def names(self) -> Iterator[str]:
        with self._opened() as archive:
            yield from (member.name for member in archive if member.isfile())

    def contents(self, names: Sequence[str]) -> Iterator[tuple[int, bytes | Exception]]:
        position = {name: i for i, name in enumerate(names)}
        with self._opened() as archive:
            for member in archive:
                if member.isfile() and member.name in position:
                    yield position[member.name], archive.extractfile(member).read()

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        with _damage(self.path, "tar"), tarfile.open(self.path, "r|*") as archive:
            yield archive


class Databases(Container):
    """LMDB databases; a file is called ``database/key``.

    They are open only while they are read: a process can open a database once, and those forked meanwhile not at all.

    Args:
        path: of the folder that holds them.
        folders: the folder of each database, by the name that its files begin with.
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


class OfThisProcess:
    """What is opened when it is first needed, once in each process: processes must not share a place in a file."""

    def __init__(self, opened: Callable[[], Any]):
        self._open = opened
        self._process: int | None = None
        self._held: Any = None

    def __call__(self) -> Any:
        if self._process != os.getpid():
            self._held, self._process = self._open(), os.getpid()
        return self._held


def archive(path: Path) -> Container:
    """The container of an archive's kind.

    Raises:
        UserError: it is none, or damaged.
    """
    if path.suffix.lower() == ".zip":
        return Zip(path)
    with path.open("rb") as file:
        plain = file.read(512)[257:262] == b"ustar"
    return Tar(path) if plain else CompressedTar(path)


@contextmanager
def _damage(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"data.path: {path} is not a {kind} archive, or is damaged ({error})") from error


def _check_end(path: Path) -> None:
    """An uncompressed tar ends with blocks of zeros; where it was cut off, tarfile may not notice.

    Raises:
        tarfile.ReadError: it was cut off.
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


def _attempt(read: Callable[[Any], bytes], name: Any) -> bytes | Exception:
    try:
        return read(name)
    except Exception as error:
        return error
