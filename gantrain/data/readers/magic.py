"""The kind of a file, told from its first bytes whatever its name is."""

from __future__ import annotations

from typing import NamedTuple

# The number of bytes from which a kind can be told.
START = 512


class Kind(NamedTuple):
    """The kind of a file.

    Attributes:
        name: the kind as messages call it, such as "a PNG image".
        group: "image", "archive" (several files in one, or a compressed file) or "other".
    """

    name: str
    group: str


# Where the bytes lie, the bytes, and what they are the mark of. The first that fits is taken.
_MARKS = [
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG image", "image")),
    (0, b"\xff\xd8\xff", Kind("a JPEG image", "image")),
    (0, b"GIF8", Kind("a GIF image", "image")),
    (8, b"WEBP", Kind("a WebP image", "image")),
    (0, b"II*\0", Kind("a TIFF image", "image")),
    (0, b"MM\0*", Kind("a TIFF image", "image")),
    (0, b"II+\0", Kind("a TIFF image", "image")),
    (0, b"MM\0+", Kind("a TIFF image", "image")),
    (4, b"ftypavif", Kind("an AVIF image", "image")),
    (4, b"ftypavis", Kind("an AVIF image", "image")),
    (4, b"ftyphei", Kind("a HEIC image", "image")),
    (4, b"ftyphev", Kind("a HEIC image", "image")),
    (4, b"ftypmif1", Kind("a HEIC image", "image")),
    (0, b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 image", "image")),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 image", "image")),
    (0, b"\0\0\0\x0cJXL ", Kind("a JPEG XL image", "image")),
    (0, b"\xff\x0a", Kind("a JPEG XL image", "image")),
    (0, b"8BPS", Kind("a Photoshop image", "image")),
    (0, b"qoif", Kind("a QOI image", "image")),
    (0, b"\x76\x2f\x31\x01", Kind("an OpenEXR image", "image")),
    (0, b"DDS ", Kind("a DDS image", "image")),
    (257, b"ustar", Kind("a tar archive", "archive")),
    (0, b"PK\x03\x04", Kind("a zip archive", "archive")),
    (0, b"PK\x05\x06", Kind("a zip archive", "archive")),
    (0, b"PK\x07\x08", Kind("a part of a split zip archive", "archive")),
    (0, b"\x1f\x8b", Kind("a gzip file", "archive")),
    (0, b"BZh", Kind("a bzip2 file", "archive")),
    (0, b"\xfd7zXZ\0", Kind("an xz file", "archive")),
    (0, b"\x5d\0\0", Kind("an lzma file", "archive")),
    (0, b"\x28\xb5\x2f\xfd", Kind("a Zstandard file", "archive")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "archive")),
    (0, b"Rar!\x1a\x07", Kind("a RAR archive", "archive")),
    (0, b"\x04\x22\x4d\x18", Kind("an LZ4 file", "archive")),
    (0, b"\x1f\x9d", Kind("a compress file", "archive")),
    (0, b"LZIP", Kind("an lzip file", "archive")),
    (0, b"MSCF", Kind("a cabinet archive", "archive")),
    (0, b"!<arch>", Kind("an ar archive", "archive")),
    (0, b"%PDF", Kind("a PDF file", "other")),
    (0, b"\x89HDF", Kind("an HDF5 file", "other")),
    (0, b"PAR1", Kind("a Parquet file", "other")),
    (0, b"\x93NUMPY", Kind("a NumPy array", "other")),
    (0, b"SQLite format 3", Kind("an SQLite database", "other")),
    (16, b"\xde\xc0\xef\xbe", Kind("an LMDB database", "other")),
    (4, b"ftyp", Kind("a film", "other")),
    (0, b"version https://git-lfs", Kind("a pointer of Git LFS and not the file itself; run git lfs pull", "other")),
]


def kind_of(start: bytes) -> Kind | None:
    """The kind of the file that begins with these bytes, the first ``START`` of it or all; None if it is unknown."""
    for offset, mark, kind in _MARKS:
        if start.startswith(mark, offset):
            return kind
    if start[:2] == b"BM" and start[6:10] == bytes(4):
        return Kind("a BMP image", "image")
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3] in b" \t\r\n#" and len(start) > 3:
        return Kind("a PGM, PPM or PBM image", "image")
    if not start:
        return Kind("an empty file", "other")
    if start.count(0) == len(start):
        return Kind("a file of zeros", "other")
    text = start[:START].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return Kind("a web page", "other")
    if text.startswith((b"<?xml", b"<svg")):
        return Kind("an SVG drawing" if b"<svg" in text else "XML", "other")
    if not set(start) & _NOT_IN_TEXT:
        return Kind("text", "other")
    return None


# The control characters that no text contains: all but tab, the ends of lines and pages, and escape.
_NOT_IN_TEXT = set(range(32)) - {9, 10, 12, 13, 27}
