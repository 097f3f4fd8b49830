"""Single rows of a run's ``metrics.jsonl``, found from the end of the file, however long it is."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gantrain.config import marks
from gantrain.errors import UserError
from gantrain.utils.io import open_regular

METRICS = marks.LOG


class LastRows:
    """The rows of a run's ``metrics.jsonl`` from the last to the first; none without a file.

    Only rows that are asked for are parsed. An unfinished last line is left out.

    Args:
        folder: the folder of the run.

    Raises:
        UserError: the file cannot be read; or, while rows are looked for, one of them is no row.
    """

    def __init__(self, folder: Path):
        self.path = folder / METRICS
        self._content = b""
        try:
            with open_regular(self.path) as stream:
                self._content = stream.read()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def last(self, prefix: str = "") -> dict[str, Any] | None:
        """The last row, or the last with a scalar whose name begins with ``prefix``; None if there is none."""
        return next(self._holding(json.dumps(prefix).encode()[:-1] if prefix else b"\n"), None)

    def value(self, name: str, step: int | None = None) -> float | None:
        """The last finite value of a scalar, or the one at a step; None if there is none."""
        for row in self._holding(json.dumps(name).encode() + b":"):
            value = row.get(name)
            if isinstance(value, int | float) and math.isfinite(value) and step in (None, row["step"]):
                return float(value)
            if step is not None and row["step"] < step:
                return None
        return None

    def values(self, name: str, count: int) -> list[float]:
        """The last finite values of a scalar, at most ``count`` of them, from the last to the first."""
        rows = self._holding(json.dumps(name).encode() + b":")
        values = (row.get(name) for row in rows)
        finite = (float(value) for value in values if isinstance(value, int | float) and math.isfinite(value))
        return list(itertools.islice(finite, count))

    def _holding(self, text: bytes) -> Iterator[dict[str, Any]]:
        """The rows whose lines hold a text, from the last to the first."""
        end = self._content.rfind(b"\n") + 1
        while end > 0:
            at = self._content.rfind(text, 0, end)
            if at < 0:
                return
            begin = self._content.rfind(b"\n", 0, at) + 1
            line = self._content[begin : self._content.find(b"\n", at) + 1]
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.path}: one of its lines is not valid JSON: {error}") from error
            if not isinstance(row, dict) or not all(isinstance(row.get(key), int | float) for key in ("step", "time")):
                raise UserError(f"{self.path}: one of its lines is not a row of metrics")
            yield row
            end = begin
