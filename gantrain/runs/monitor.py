"""The log of a run: it is written as TensorBoard events and as ``metrics.jsonl`` while the run trains."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gantrain.config.user_code import described
from gantrain.errors import UserError
from gantrain.runs.about import About
from gantrain.runs.better import record_better
from gantrain.runs.board import Board
from gantrain.runs.last_rows import METRICS
from gantrain.runs.tracking import Trackers
from gantrain.utils.io import append, explaining_write_errors, open_regular, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The columns of metrics.jsonl that differ between two runs of one config; all others are functions of the config.
WALL_CLOCK = frozenset({"time", "images_per_second", "steps_per_second"})
# The columns that every row has.
_EVERY_ROW = ("step", "time")
# More steps than any run takes; a number of this size in a file is none of ours.
_MANY = 2**63


class Monitor:
    """Scalars, pictures and texts of a run, written into its folder.

    TensorBoard events lie directly in the folder. ``metrics.jsonl`` has the same scalars, under the names that
    :func:`~gantrain.runs.tags.tag` makes tags of, one JSON object a line:
    ``step``, ``time`` (seconds of training so far, over all resumptions) and the scalars by name. A line is handed to
    the system as soon as it is complete, so that a killed process loses at most the line that it was writing. JSON
    knows no infinity: a value that is not finite is ``null`` in ``metrics.jsonl`` and itself in TensorBoard.

    What cannot be written is a line that names the file and the bytes for which there was no room. A row is in the file
    as a whole or not at all.

    If the folder holds rows of later steps than ``step``, or more rows than ``rows``, the monitor deletes them from
    both when it is opened.

    Args:
        folder: the folder of the run, which exists.
        config: the resolved config, shown under Text as YAML.
        step: training steps taken so far.
        enabled: whether anything is written or read; False on all processes but the first.
        rows: the number of rows so far; None for all of those steps.
        events: whether TensorBoard's events are written.
        trackers: what else the rows and pictures go to; nothing by default.
        about: what TensorBoard shows of the run beside its rows; by default the config alone.
        metrics: the scalars that have columns in TensorBoard's table of hyper-parameters, in which a run has a line
            if ``about`` is given.

    Attributes:
        last: the latest value of each scalar, or None before the first.
        rows: the number of rows of ``metrics.jsonl``.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        step: int = 0,
        enabled: bool = True,
        rows: int | None = None,
        events: bool = True,
        trackers: Trackers | None = None,
        about: About | None = None,
        metrics: Sequence[str] = (),
    ):
        self.enabled = enabled
        self.trackers = trackers or Trackers((), Path(folder))
        self.last: dict[str, float] | None = None
        self.rows = 0
        if not enabled:
            return
        earlier, forgotten = _forget_rows(Path(folder) / METRICS, step, rows)
        again = [row for row in earlier if row["step"] == step] if step in forgotten else []
        self.rows = len(earlier)
        for row in earlier:
            self.last = (self.last or {}) | _scalars(row)
        self._better: dict[str, str] = {}
        self._began = time.monotonic() - (earlier[-1]["time"] if earlier else 0.0)
        self._path = Path(folder) / METRICS
        with explaining_write_errors(self._path):
            self._rows = self._path.open("ab", buffering=0)
        self.trackers.take_up(earlier)
        self._board: Board | None = None
        if not events:
            return
        # TensorBoard forgets whole steps: what stays of a step is written again if something of it goes.
        self._board = Board(Path(folder), step if step in forgotten else step + 1, self.last or ())
        for row in again:
            self._board.scalars(step, _scalars(row), row["time"])
        self._board.text("config", step, (about or About()).markdown(config))
        if about is not None:
            self._board.begin(about.hyper_parameters, metrics)

    def scalars(self, step: int, values: Mapping[str, Any], better: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write the values of a step: numbers of Python or numpy, or tensors of one element.

        Args:
            step: the number of training steps taken.
            values: the values by name; true and false count as 1 and 0.
            better: for those values by which runs are compared, the better direction: "lower" or "higher".

        Raises:
            UserError: a value is no number, or has the name of a column that every row has; or a file cannot be
                written.
        """
        if not self.enabled:
            return
        for name in _EVERY_ROW:
            if name in values:
                raise UserError(f"scalars: {name!r} is a column of every row of {METRICS}; give the value another name")
        if not better.items() <= self._better.items():
            record_better(self._path.parent, better)
            self._better |= better
        numbers = {name: _number(name, value) for name, value in values.items()}
        row: dict[str, Any] = {"step": step, "time": round(time.monotonic() - self._began, 3)}
        row |= {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        append(self._rows, (json.dumps(row, allow_nan=False) + "\n").encode(), self._path)
        if self._board is not None:
            self._board.scalars(step, numbers, row["time"])
        self.trackers.row(row)
        self.last = (self.last or {}) | numbers
        self.rows += 1

    def image(self, tag: str, step: int, image: Tensor) -> None:
        """Write a picture, uint8 CHW, into TensorBoard, and to trackers that take pictures."""
        if not self.enabled:
            return
        self.trackers.image(tag, step, image)
        if self._board is not None:
            self._board.image(tag, step, image)

    def figure(self, tag: str, step: int, figure: Figure) -> None:
        """Write a matplotlib figure where pictures go."""
        if self.enabled:
            from gantrain.plotting.images import rendered

            self.image(tag, step, rendered(figure))

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Write Markdown into TensorBoard."""
        if self.enabled and self._board is not None:
            self._board.text(tag, step, text)

    def histogram(self, tag: str, step: int, values: Sequence[float]) -> None:
        """Write into TensorBoard how values are distributed."""
        if self.enabled and self._board is not None:
            self._board.histogram(tag, step, values)

    def finish(self) -> None:
        """Write down that the run is finished, and close the files."""
        if self.enabled and self._board is not None:
            self._board.finish()
        self.close()

    def synchronise(self) -> None:
        """Bring the rows of ``metrics.jsonl`` to the disk, so that they survive a failure of the power.

        Raises:
            UserError: the disk fails.
        """
        if self.enabled:
            with explaining_write_errors(self._path):
                os.fsync(self._rows.fileno())

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out everything and close the files. A second call does nothing."""
        if self.enabled:
            if self._board is not None:
                self._board.close()
            self._rows.close()


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The rows of ``folder/metrics.jsonl`` as they were written, with NaN for null and without an unfinished last line.

    Raises:
        UserError: there is no such file, or one of its lines is not a row.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        raise UserError(f"{path}: no such file; has this run logged anything yet?")
    return [{name: _finite_or_nan(value) for name, value in row.items()} for _, row in _rows(path)]


def scalars_over_steps(
    folder: str | Path, wanted: Callable[[str], bool]
) -> dict[str, tuple[array[float], array[float]]]:
    """The scalars of a run by name: the steps and the values, with NaN for null. The rows are read one by one.

    Args:
        folder: the folder of the run.
        wanted: whether a scalar of a name is read.

    Raises:
        UserError: one of the lines is not a row.
    """
    found: dict[str, tuple[array[float], array[float]]] = {}
    path = Path(folder) / METRICS
    for _, row in _rows(path) if path.exists() else ():
        for name, value in row.items():
            if wanted(name):
                steps, values = found.setdefault(name, (array("d"), array("d")))
                steps.append(row["step"])
                values.append(_finite_or_nan(value))
    return found


def require_rows(folder: Path) -> None:
    """Check that the rows of a run that goes on can be read; a run without any is as good.

    Raises:
        UserError: a line of ``folder/metrics.jsonl`` is not a row.
    """
    if (folder / METRICS).exists():
        read_metrics(folder)


def _forget_rows(path: Path, step: int, rows: int | None) -> tuple[list[dict[str, Any]], set[int]]:
    """Delete the rows after ``step``, all but the first ``rows``, and an unfinished line from the file.

    Returns:
        The rows that stay, and the steps of those that went.
    """
    if not path.exists():
        return [], set()
    found = list(_rows(path))
    kept = [(line, row) for line, row in found if row["step"] <= step][:rows]
    write_file(path, b"".join(line for line, _ in kept), durable=True)
    return [row for _, row in kept], {row["step"] for _, row in found[len(kept) :]}


def _rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        stream = open_regular(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; move it away") from error
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number}: not valid JSON: {error}") from error
            if not isinstance(row, dict) or not row.keys() >= {*_EVERY_ROW}:
                raise UserError(f"{path}:{number}: not a row of metrics; expected an object with step and time")
            for name, value in row.items():
                if not _is_value(name, value):
                    kind = "a count of steps" if name == "step" else "a number" + " or null" * (name != "time")
                    raise UserError(f"{path}:{number}: {name[:80]!r}: expected {kind}, found {json.dumps(value)[:40]}")
            yield line, row


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: _finite_or_nan(v) for name, v in row.items() if name not in _EVERY_ROW}


def _is_value(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if name == "step":
        return isinstance(value, int) and 0 <= value < _MANY
    if value is None:
        return name != "time"
    known = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return known and (name != "time" or value >= 0)


def _number(name: str, value: Any) -> int | float:
    """The value of this name as a number of Python.

    Raises:
        UserError: it is none.
    """
    one = hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1
    number = value.item() if one else value
    if not isinstance(number, int | float):
        raise UserError(f"scalars: {name!r}: expected a number or a tensor of one element, got {described(value)}")
    return int(number) if isinstance(number, bool) else number  # JSON has words for these, which are no numbers


def _finite_or_nan(value: Any) -> Any:
    return math.nan if value is None else value
