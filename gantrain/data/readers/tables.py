"""Rows of text files: comma-separated, tab-separated, or one JSON object a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gantrain.config.base import nearest, one_of
from gantrain.errors import UserError

# Tab-separated files know no quotes, as in GLUE: a quotation mark is a character of the text.
_DIALECTS = {
    ".csv": {"delimiter": ",", "strict": True},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}


def read(path: str | Path, columns: Sequence[str | int]) -> list[tuple[int, list[Any]]]:
    """The wanted columns of each row, with the number of the line where the row begins. Empty lines are left out.

    Args:
        path: of a .csv, .tsv or .jsonl file in UTF-8.
        columns: names in the file's header, or keys of the JSON objects; or, all of them, positions from 0 in a file
            without a header.

    Raises:
        UserError: there is no such file, it is of another kind, or a row is not as it should be.
    """
    path = Path(path)
    if path.suffix not in (*_DIALECTS, ".jsonl"):
        raise UserError(f"{path}: expected a file whose name ends in .csv, .tsv or .jsonl")
    if len({type(column) for column in columns}) > 1:
        raise UserError(f"{path}: expected columns all by name, or all by position in a file without header")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_objects(path, file, columns) if path.suffix == ".jsonl" else _lists(path, file, columns))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start} of what was read)") from error
    if not rows:
        raise UserError(f"{path}: has no rows")
    return rows


def _lists(path: Path, file: Any, columns: Sequence[str | int]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, **_DIALECTS[path.suffix])
    positions = None if isinstance(columns[0], str) else columns
    width = None
    line = 1
    try:
        for row in reader:
            if row and positions is None:
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


def _objects(path: Path, file: Any, columns: Sequence[str | int]) -> Iterator[tuple[int, list[Any]]]:
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
