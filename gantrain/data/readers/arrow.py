"""Images in the Arrow and Parquet files of Hugging Face data sets, each read from its row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gantrain.config.base import nearest, one_of
from gantrain.config.paths import not_found
from gantrain.config.types import shown
from gantrain.data.readers.containers import Entry, RandomAccess
from gantrain.data.readers.magic import START, kind_of
from gantrain.errors import UserError
from gantrain.utils.io import open_regular
from gantrain.utils.system_files import is_hidden_or_system

# The end of the name of a file that is one of several, such as train-00000-of-00002.parquet.
_SHARD = re.compile(r"-\d+(-of-\d+)?(-[0-9a-f]{16})?$")
# Words that name a part of a data set wherever they stand in a path, each with those that mean the same.
_PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


class ArrowFolder:
    """The tables of a folder that holds a Hugging Face data set, by the parts of the data set.

    Such a folder was written by ``save_to_disk`` of the package datasets (Arrow files, in a folder for each part if
    there are several), or is a copy of a repository of the hub that holds Parquet files. A file's path says to which
    part it belongs; where nothing does, all files are the part train. The package pyarrow reads the files. No code is
    executed and nothing is downloaded.

    Args:
        path: the folder.

    Attributes:
        path: as given.
        parts: the files of each part, in the order of their names.

    Raises:
        UserError: pyarrow is not installed, or there are no such files.
    """

    def __init__(self, path: Path):
        require_pyarrow()
        if not path.is_dir():
            if path.exists():
                raise UserError(f"data.path: {path}: is a file, expected the folder that holds it")
            raise not_found("data.path", path)
        self.path = path
        files = sorted(
            file
            for file in path.rglob("*")
            if file.suffix in (".arrow", ".parquet")
            and not any(map(is_hidden_or_system, file.relative_to(path).parts))
            and not file.name.startswith(("cache-", "indices-", "tmp"))
        )
        if not files:
            raise UserError(
                f"data.path: {path} holds no .arrow or .parquet file; expected a folder written by save_to_disk, or a "
                "copy of a Parquet repository; for a folder of images use image_folder"
            )
        self.parts: dict[str, list[Path]] = {}
        for file in files:
            self.parts.setdefault(_part(file.relative_to(path)), []).append(file)
        for part, own in self.parts.items():
            folders = sorted({str(file.parent.relative_to(path)) for file in own})
            if len(folders) > 1:
                raise UserError(
                    f"data.path: the part {part} of {path} lies in several folders, {', '.join(folders[:4])}; choose "
                    "one configuration of the data set with data.path"
                )

    def files(self, part: str) -> list[ArrowFile]:
        """The files of a part.

        Raises:
            UserError: there is no such part, or a file is damaged.
        """
        if part not in self.parts:
            close = nearest(part, self.parts)
            raise UserError(f"data.split: {self.path} has the parts {', '.join(self.parts)}, got {part!r}{close}")
        return [opened(file) for file in self.parts[part]]


def features_of(files: Sequence[ArrowFile]) -> dict[str, Any]:
    """The Hugging Face description of each column, by the column's name; empty where the files have none."""
    try:
        about = json.loads((files[0].schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in about.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def image_column(files: Sequence[ArrowFile], name: str | None, path: Path) -> str:
    """The column that holds the images: the one that is named, or else the only one.

    Raises:
        UserError: there is no such column, or there are several.
    """
    import pyarrow as pa

    schema, features = files[0].schema, features_of(files)

    def holds_images(column: str) -> bool:
        kind = schema.field(column).type
        binary = (pa.types.is_binary, pa.types.is_large_binary)
        if pa.types.is_struct(kind):
            kind = next((f.type for f in kind if f.name == "bytes"), None)
        elif features and column in features:
            return features[column].get("_type") == "Image"
        return kind is not None and any(test(kind) for test in binary)

    found = [column for column in schema.names if holds_images(column)]
    if name is None:
        named = [column for column in found if features.get(column, {}).get("_type") == "Image"]
        found = named or found
        if len(found) == 1:
            return found[0]
        several = f"several columns of images, {', '.join(found)}" if found else "no column of images"
        advice = "choose one with data.image" if found else f"its columns are {', '.join(schema.names)}"
        raise UserError(f"data.path: {path} has {several}; {advice}")
    if name not in found:
        what = "holds no images" if name in schema.names else "is no column"
        raise UserError(f"data.image: {name!r} {what} of {path}; expected {one_of(found) or 'another data set'}")
    return name


def label_column(files: Sequence[ArrowFile], name: str | None, path: Path) -> str | None:
    """The column that holds the labels: the one that is named, or else the only one of class labels, if any.

    Raises:
        UserError: there is no such column, or there are several.
    """
    names, features = files[0].schema.names, features_of(files)
    if name is not None:
        if name not in names:
            raise UserError(
                f"data.label: {path} has no column {name!r}; expected {one_of(names)}{nearest(name, names)}"
            )
        return name
    found = [column for column, feature in features.items() if feature.get("_type") == "ClassLabel"]
    if len(found) > 1:
        raise UserError(
            f"data.path: {path} has labels in several columns, {', '.join(found)}; choose one with data.label"
        )
    return found[0] if found else "label" if "label" in names else None


def values_of(files: Sequence[ArrowFile], column: str) -> list[Any]:
    """All values of a column.

    Raises:
        UserError: a file is damaged.
    """
    return [value for file in files for value in file.column(column).to_pylist()]


class ArrowImages(RandomAccess):
    """The encoded images in a column; each is called by its row, such as ``row 12``.

    Args:
        path: the folder of the data set.
        files: its files, as :meth:`ArrowFolder.files` returns them.
        column: the column.

    Raises:
        UserError: a file is damaged.
    """

    def __init__(self, path: Path, files: Sequence[ArrowFile], column: str):
        super().__init__(path)
        self._places = [file.path for file in files]
        self._chunks = [chunk for file in files for chunk in _binary(file.column(column)).chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def entries(self) -> Iterator[Entry]:
        return (Entry(f"row {row}") for row in range(len(self)))

    def read(self, name: str, most: int) -> bytes:
        value = self._value(name)
        if not value.is_valid:
            raise ValueError("it is not in the data set, which may hold only its path; embed it with save_to_disk")
        return bytes(memoryview(value.as_buffer())[:most])

    def sizes(self, names: Sequence[str]) -> list[int]:
        values = map(self._value, names)
        return [value.as_buffer().size if value.is_valid else -1 for value in values]

    def places(self, names: Sequence[str]) -> list[Path]:
        return self._places

    def _value(self, name: str) -> Any:
        row = row_of(name)
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._chunks[chunk][row - int(self._starts[chunk])]


def row_of(name: str) -> int:
    """The row of an image by its name in :class:`ArrowImages`."""
    return int(name.removeprefix("row "))


class ArrowFile:
    """A table in a file, of which columns are read one by one: Arrow files stay on disk, Parquet files are unpacked.

    Attributes:
        path: the path of the file.
        schema: the columns.
    """

    def __init__(self, path: Path):
        import pyarrow as pa
        from pyarrow import parquet

        self.path = path
        self._table: Any = None
        if path.suffix == ".parquet":
            self._parquet = parquet.ParquetFile(path, memory_map=True)
            self.schema = self._parquet.schema_arrow
            self._rows = self._parquet.metadata.num_rows
            return
        source = pa.memory_map(str(path))
        try:
            self._table = pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            self._table = pa.ipc.open_file(source).read_all()
        self.schema = self._table.schema

    def unpacked(self, column: str) -> int:
        """The bytes of memory that a column takes when it is read; 0 for a column that stays on disk."""
        if self._table is not None:
            return 0
        about = self._parquet.metadata
        columns = [about.row_group(g).column(c) for g in range(about.num_row_groups) for c in range(about.num_columns)]
        return sum(c.total_uncompressed_size for c in columns if c.path_in_schema.partition(".")[0] == column)

    def column(self, name: str) -> Any:
        """The values of a column, checked so that none of them lies outside the file."""
        import pyarrow as pa

        try:
            table = self._parquet.read([name]) if self._table is None else self._table
            values = table.column(name)
            values.validate(full=True)
            return values
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(self.path, error) from error


def require_pyarrow() -> None:
    """Refuse to go on without the package pyarrow.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(
            "data: Arrow and Parquet files need the package pyarrow, which is not installed; pip install "
            "'gantrain[huggingface]'"
        ) from None


def opened(path: Path) -> ArrowFile:
    """An Arrow or Parquet file.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow as pa

    try:
        with open_regular(path) as file:
            kind = kind_of(file.read(START))
        if kind is not None and "LFS" in kind.name:
            raise UserError(f"data.path: {path} is {kind.name}")
        return ArrowFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    text = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())[:200]
    return UserError(f"data.path: {path} cannot be read ({text}); copy or download it again")


def _binary(column: Any) -> Any:
    """The encoded images of a column of images, or of a column of bytes."""
    import pyarrow as pa
    from pyarrow.compute import struct_field

    if not pa.types.is_struct(column.type):
        return column
    # A row without an image has no bytes either.
    return pa.chunked_array([struct_field(chunk, "bytes") for chunk in column.chunks], column.type.field("bytes").type)


def _part(file: Path) -> str:
    """The part of a data set to which a file belongs, by its path in the folder of the data set."""
    stem = _SHARD.sub("", file.stem)
    places = [stem, *reversed(file.parts[:-1])]
    for place in places:
        words = re.split(r"[^a-zA-Z0-9]+", place.lower())
        for part, names in _PARTS.items():
            if any(name in words for name in names):
                return part
    # Parts may have any names: those of the files, or of the folders that save_to_disk writes.
    if file.suffix == ".arrow" and stem == "data" and len(file.parts) > 1:
        return PurePosixPath(*file.parts[:-1]).name
    return "train" if stem in ("data", "dataset", "part", "0", "0000") or not stem else stem


def class_numbers(
    values: Sequence[Any], others: Sequence[Any], feature: Mapping[str, Any], who: str
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Labels as numbers from 0, and the names of the classes.

    Args:
        values: the labels of a part: whole numbers, truth values or text.
        others: the labels of all parts, which number the classes where the column has no names for them.
        feature: the description of the column.
        who: the column, with which error messages begin.

    Returns:
        None and no names where all labels are -1, with which Hugging Face marks data without labels.

    Raises:
        UserError: a label is missing, or is neither a whole number from 0 nor text.
    """
    names = feature.get("names") or ()
    if all(value == -1 for value in values):
        return None, ()
    if all(isinstance(value, str) for value in values):
        known = sorted({value for value in others if isinstance(value, str)})
        number = {name: i for i, name in enumerate(known)}
        return [number[value] for value in values], tuple(known)
    for row, value in enumerate(values):
        if not isinstance(value, int) or value < 0 or (names and value >= len(names)):
            most = f" to {len(names) - 1}" if names else ""
            raise UserError(
                f"{who}: row {row} has the label {shown(value)}, expected a whole number from 0{most}, or text"
            )
    highest = max(int(value) for value in [*others, *values] if isinstance(value, int))
    return [int(value) for value in values], tuple(names) or tuple(map(str, range(highest + 1)))
