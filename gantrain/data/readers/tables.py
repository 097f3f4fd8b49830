"""Reading of tables: comma-separated files, tab-separated files, and files with one JSON object in each line."""

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
from gantrain.errors import NotFound, UserError
from gantrain.utils.io import open_regular

# Tab-separated files have no quotes, as in GLUE: a quotation mark is a character of the text.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".csv": {"delimiter": ",", "strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}


def read(path: str | Path, columns: Sequence[str | int]) -> list[tuple[int, list[Any]]]:
    """Read some columns of a table: for each row the number of its first line, and its values in the order asked for.

    Empty lines are left out.

    Args:
        path: a .csv, .tsv or .jsonl file in UTF-8.
        columns: the columns' names in the header, or keys of the JSON objects; or, for a file without a header, the
            columns' positions, counted from 0. Names and positions cannot be mixed.

    Raises:
        UserError: the file cannot be read, is of another kind, has no rows, or has a row that is malformed.
    """
    path = Path(path)
    if path.suffix not in (*_DIALECTS, ".jsonl"):
        raise UserError(f"{path}: expected a file whose name ends in .csv, .tsv or .jsonl")
    if len({type(column) for column in columns}) > 1:
        raise UserError(f"{path}: expected columns all by name, or all by position in a file without header")
    if is_missing(path):
        raise NotFound(f"{path}: {nothing_at(path)}")
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            rows = list(_objects(path, file, columns) if path.suffix == ".jsonl" else _lists(path, file, columns))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start} of what was read)") from error
    if not rows:
        raise UserError(f"{path}: has no rows")
    return rows


def _lists(path: Path, file: TextIO, columns: Sequence[str | int]) -> Iterator[tuple[int, list[Any]]]:
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
                if len(row) != width:
                    raise UserError(f"{path}:{line}: expected {width} columns as before, got {len(row)}")
                if max(positions) >= width:
                    raise UserError(f"{path}:{line}: no column {max(positions)}; there are {width}, counted from 0")
                yield line, [row[position] for position in positions]
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}: not a row of a {path.suffix} file: {error}") from error


def _position(path: Path, name: str | int, header: list[str]) -> int:
    if name not in header:
        raise UserError(f"{path}: no column {name!r}; expected {one_of(header)}{nearest(name, header)}")
    return header.index(name)


def _objects(path: Path, file: TextIO, columns: Sequence[str | int]) -> Iterator[tuple[int, list[Any]]]:
    if isinstance(columns[0], int):
        raise UserError(f"{path}: expected columns by name, since each line is a JSON object, got {columns[0]}")
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
