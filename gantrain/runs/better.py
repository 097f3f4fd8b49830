"""Which of two values of a logged scalar is the better one, as a run's folder keeps it for comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from gantrain.errors import UserError
from gantrain.runs.records import read_record
from gantrain.utils.direction import Direction
from gantrain.utils.io import write_file

BETTER = "better.json"
_WAYS = get_args(Direction)


def record_better(folder: Path, better: Mapping[str, str]) -> None:
    """Add to the record of a run which direction of some scalars is better.

    Args:
        folder: the folder of the run.
        better: name of a scalar -> "lower" or "higher".

    Raises:
        UserError: a direction is another word, or the record cannot be written.
    """
    for name, way in better.items():
        if way not in _WAYS:
            raise UserError(f"better: {name}: expected lower or higher, got {way!r}")
    try:
        known = read_better(folder)
    except UserError:  # damaged; the values that are logged from now on are recorded again
        known = {}
    if not better.items() <= known.items():
        write_file(folder / BETTER, json.dumps(known | dict(better), indent=1).encode(), durable=True)


def read_better(folder: Path) -> dict[str, Direction]:
    """The recorded directions by the names of the scalars; empty if the run recorded none.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / BETTER
    try:
        found = read_record(path)
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict) or not all(way in _WAYS for way in found.values()):
        raise UserError(f"{path}: is damaged; expected lower or higher by the names of scalars. Move it away")
    return found
