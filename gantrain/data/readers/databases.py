"""Reading of LMDB databases, whose files are parsed here: the library trusts a file, and a damaged one kills a process.

The format is that of LMDB 0.9 on a machine of 64 bits. The file consists of pages. A page begins with its number (8
bytes), two unused bytes, its flags (2), and the end of the list of its nodes' offsets (2); the list begins 16 bytes
after the page. A node begins with three numbers of 2 bytes and the length of its key. In a branch page the three are
the number of a page below; in a leaf page they are the length of the value (4 bytes) and the node's flags.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from gantrain.utils.io import open_regular

_MAGIC = 0xBEEFC0DE
_PAGE = struct.Struct("<Q2xHH2x")
_NODE = struct.Struct("<HHHH")
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
# The flag of a node whose value lies in pages of its own, of which the node holds the first number.
_BIG = 1
_NO_PAGE = 2**64 - 1


class Damaged(Exception):
    """A file that is no LMDB database, or not a whole one."""


class Table(NamedTuple):
    """The entries of a database, in the order of their keys.

    Attributes:
        keys: the keys, ``(n,)``.
        starts: where in the file each value begins, ``(n,)``.
        sizes: the length of each value in bytes, ``(n,)``.
    """

    keys: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    def find(self, key: bytes) -> tuple[int, int]:
        """The start and the size of the value of a key that is in the table."""
        row = int(np.searchsorted(self.keys, np.bytes_(key)))
        return int(self.starts[row]), int(self.sizes[row])


def read_table(path: Path) -> Table:
    """Read the table of contents of the file of a database, all but its values.

    Raises:
        OSError: the file cannot be read.
        Damaged: the file is no database, or is damaged.
    """
    with open_regular(path) as file:
        try:
            return _Pages(file).table()
        except (struct.error, IndexError) as error:
            raise Damaged("a page of it makes no sense") from error


class _Pages:
    """The pages of the file of a database; every number in them is checked before it is used."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._bytes = os.fstat(file.fileno()).st_size
        start = file.read(152)
        self._page_size = 0  # so far unknown; it is in the first page
        if len(start) < 152 or struct.unpack_from("<II", start, 16) != (_MAGIC, 1):
            raise Damaged("it does not begin like an LMDB database")
        self._page_size = struct.unpack_from("<I", start, 40)[0]
        if self._page_size not in (2**n for n in range(8, 17)):
            raise Damaged("the size of its pages makes no sense")
        # Two pages describe the database by turns; the one of the later transaction counts.
        metas = [meta for meta in (start, self._read(self._page_size, 152)) if meta[16:24] == start[16:24]]
        newest = max(metas, key=lambda meta: struct.unpack_from("<Q", meta, 144)[0])
        if struct.unpack_from("<H", newest, 92)[0] & 0x7FFF:
            raise Damaged("its keys are not in the usual order, or have several values")
        self._entries, self._root, self._last = struct.unpack_from("<QQQ", newest, 120)
        if (self._last + 1) * self._page_size > self._bytes:
            whole = (self._last + 1) * self._page_size
            raise Damaged(f"it has {self._bytes} bytes, and whole it had at least {whole}")

    def table(self) -> Table:
        keys: list[bytes] = []
        starts, sizes = array("Q"), array("Q")
        pending = [] if self._root == _NO_PAGE else [self._root]
        visited = 0
        while pending:
            number = pending.pop()
            visited += 1
            if visited > self._last + 1:
                raise Damaged("its pages lead in a circle")
            page = self._page(number, _BRANCH | _LEAF)
            at = number * self._page_size
            nodes = struct.unpack_from(f"<{(_PAGE.unpack_from(page)[2] - 16) // 2}H", page, 16)
            if _PAGE.unpack_from(page)[1] & _BRANCH:
                pending += [low | middle << 16 | high << 32 for low, middle, high, _ in self._heads(page, nodes[::-1])]
                continue
            for node, (low, high, flags, length) in zip(nodes, self._heads(page, nodes), strict=True):
                start, size = node + 8 + length, low | high << 16
                keys.append(page[node + 8 : start])
                if flags & _BIG:
                    (first,) = struct.unpack_from("<Q", page, start)
                    self._page(first, _OVERFLOW)
                    starts.append(first * self._page_size + 16)
                elif flags or start + size > len(page):
                    raise Damaged("an entry of it makes no sense")
                else:
                    starts.append(at + start)
                sizes.append(size)
                if starts[-1] + size > self._bytes:
                    raise Damaged("an entry of it reaches beyond its end")
        if len(keys) != self._entries or any(a >= b for a, b in zip(keys, keys[1:], strict=False)):
            raise Damaged("its entries are not those that it counts")
        return Table(np.array(keys, "S") if keys else np.empty(0, "S1"), np.array(starts), np.array(sizes))

    def _page(self, number: int, kinds: int) -> bytes:
        if not 1 < number <= self._last:
            raise Damaged("a page of it is missing")
        page = self._read(number * self._page_size, 16 if kinds == _OVERFLOW else self._page_size)
        own, flags, _ = _PAGE.unpack_from(page)
        if own != number or not flags & kinds:
            raise Damaged(f"page {number} of it is damaged")
        return page

    @staticmethod
    def _heads(page: bytes, nodes: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
        return [_NODE.unpack_from(page, node) for node in nodes]

    def _read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)
