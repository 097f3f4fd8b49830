"""Reading of tables: comma-separated, tab-separated, JSON Lines, Arrow and Parquet files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from gantrain.config.base import nearest, one_of
from gantrain.config.paths import nothing_at
from gantrain.config.shipped import is_missing
from gantrain.data.readers.arrow import opened, require_pyarrow
from gantrain.errors import NotFound, UserError
from gantrain.utils.io import open_regular

# Tab-separated files have no quotes, as in GLUE: a quotation mark is a character of the text.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ",", "strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
# Python's own bound on a cell, 131072 characters, is for all readers of the process together; texts may be longer.
csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
_ARROW = (".parquet", ".arrow")
KINDS = (*_DIALECTS, ".jsonl", *_ARROW)


def read(path: str | Path, columns: Sequence[str | int], ragged: bool = False) -> list[tuple[int, list[Any]]]:
    """Read some columns of a table: for each row the number of its first line, and its values in the order asked for.

    Empty lines are left out. In an Arrow or Parquet file, rows are counted from 1.

    Args:
        path: a .csv, .tsv or .jsonl file in UTF-8, or a .parquet or .arrow file.
        columns: the columns' names in the header, or keys of the JSON objects; or, for a file without a header, the
            columns' positions, counted from 0. Names and positions cannot be mixed.
        ragged: whether rows of a .csv or .tsv file that have another number of columns than the first are left out.

    Raises:
        UserError: the file cannot be read, is of another kind, has no rows, or has a row that is malformed.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise UserError(f"{path}: expected a file whose name ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if len({type(column) for column in columns}) > 1:
        raise UserError(f"{path}: expected columns all by name, or all by position in a file without header")
    if is_missing(path):
        raise NotFound(f"{path}: {nothing_at(path)}")
    rows = _arrow(path, columns) if path.suffix in _ARROW else _lines(path, columns, ragged)
    if not rows:
        raise UserError(f"{path}: has no rows")
    return rows


def _lines(path: Path, columns: Sequence[str | int], ragged: bool) -> list[tuple[int, list[Any]]]:
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                return list(_objects(path, file, columns))
            return list(_lists(path, file, columns, ragged))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start} of what was read)") from error


def _lists(path: Path, file: TextIO, columns: Sequence[str | int], ragged: bool) -> Iterator[tuple[int, list[Any]]]:
    reader = csv.reader(file, **_DIALECTS[path.suffix])
    positions = [column for column in columns if isinstance(column, int)]
    width = None
    line = 1
    try:
        for row in reader:
            if row and not positions:
                positions = [_position(path, name, row) for name in columns]
                width = len(row)
            elif row:
                width = len(row) if width is None else width
                if len(row) != width and not ragged:
                    raise UserError(f"{path}:{line}: expected {width} columns as before, got {len(row)}")
                if max(positions) >= width:
                    raise UserError(f"{path}:{line}: no column {max(positions)}; there are {width}, counted from 0")
                if len(row) == width:
                    yield line, [row[position] for position in positions]
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}: not a row of a {path.suffix} file: {error}") from error


def _arrow(path: Path, columns: Sequence[str | int]) -> list[tuple[int, list[Any]]]:
    _require_names(path, columns, "a column has a name")
    require_pyarrow()
    file = opened(path)
    for name in columns:
        _position(path, name, file.schema.names)
    rows = zip(*(file.column(str(name)).to_pylist() for name in columns), strict=True)
    return [(i, list(row)) for i, row in enumerate(rows, start=1)]


def _require_names(path: Path, columns: Sequence[str | int], reason: str) -> None:
    if isinstance(columns[0], int):
        raise UserError(f"{path}: expected columns by name, since {reason}, got {columns[0]}")


def _position(path: Path, name: str | int, header: list[str]) -> int:
    if name not in header:
        raise UserError(f"{path}: no column {name!r}; expected {one_of(header)}{nearest(name, header)}")
    return header.index(name)


def _objects(path: Path, file: TextIO, columns: Sequence[str | int]) -> Iterator[tuple[int, list[Any]]]:
    _require_names(path, columns, "each line is a JSON object")
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{line}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}:{line}: expected a JSON object, got {text.strip()[:40]}")
        for name in columns:
            if name not in value:
                raise UserError(f"{path}:{line}: no key {name!r}; expected {one_of(value)}{nearest(name, value)}")
        yield line, [value[name] for name in columns]
