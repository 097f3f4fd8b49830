"""What a run writes down while it trains: TensorBoard events and ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import Tensor

from gantrain.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = "metrics.jsonl"
# The columns of metrics.jsonl that differ between two runs of one config; all others are functions of the config.
WALL_CLOCK = frozenset({"time", "images_per_second"})
# Charts that show several scalars together; TensorBoard matches the tags as regular expressions.
LAYOUT = {"game": {"losses": ["Multiline", ["loss/.*"]], "scores": ["Multiline", ["score/.*"]]}}


class Monitor:
    """Scalars, pictures and texts of a run, written into its folder.

    TensorBoard events lie directly in the folder. ``metrics.jsonl`` has the same scalars, one JSON object a line:
    ``step``, ``time`` (seconds of training so far, over all resumptions) and the scalars by name. A line is handed to
    the system as soon as it is complete, so that a killed process loses no more than the one it was writing. JSON
    knows no infinity: a value that is not finite is ``null`` there and itself in TensorBoard.

    Opened at a step that lies behind what the folder holds, the monitor forgets everything after that step, in both.

    Args:
        folder: of the run; it exists.
        config: the resolved config, shown under Text as YAML.
        step: training steps taken so far.
        enabled: False on all processes but the first: nothing is written, and nothing read.

    Attributes:
        last: the latest value of each scalar, or None before the first.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int = 0, enabled: bool = True):
        self.enabled = enabled
        self.last: dict[str, float] | None = None
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        earlier = _forget(Path(folder) / METRICS, step)
        for row in earlier:
            values = {name: _finite_or_nan(v) for name, v in row.items() if name not in ("step", "time")}
            self.last = (self.last or {}) | values
        self._began = time.monotonic() - (earlier[-1]["time"] if earlier else 0.0)
        self._rows = (Path(folder) / METRICS).open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder), purge_step=step + 1)
        self._events.add_custom_scalars(LAYOUT)
        self.text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```", step)

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the values of a step: numbers of Python or numpy, or tensors of one element."""
        if not self.enabled:
            return
        numbers = {name: _number(value) for name, value in values.items()}
        row: dict[str, Any] = {"step": step, "time": round(time.monotonic() - self._began, 3)}
        row |= {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        self._rows.write(json.dumps(row, allow_nan=False) + "\n")
        self._rows.flush()
        for name, number in numbers.items():
            self._events.add_scalar(name, number, step)
        self._events.flush()
        self.last = (self.last or {}) | numbers

    def image(self, tag: str, step: int, image: Tensor) -> None:
        """Write a picture, uint8 CHW, into TensorBoard."""
        if self.enabled:
            self._events.add_image(tag, image, step)

    def figure(self, tag: str, step: int, figure: Figure) -> None:
        """Write a matplotlib figure into TensorBoard."""
        if self.enabled:
            from gantrain.plotting.images import rendered

            self.image(tag, step, rendered(figure))

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Write Markdown into TensorBoard."""
        if self.enabled:
            self._events.add_text(tag, text, step)

    def hparams(self, config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Enter the run into TensorBoard's table of hyper-parameters.

        The table takes a metric's value from the scalars of that name, and lies in the run's own events: SummaryWriter
        would open a second run for it.

        Args:
            config: nested; its leaves become ``game.generator.optimizer.lr`` and so on.
            metrics: their names are the table's columns.
        """
        if not self.enabled:
            return
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(flattened(config), dict(metrics)):
            self._events.file_writer.add_summary(summary)
        self._events.flush()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write out everything and close the files; a second time does nothing."""
        if self.enabled:
            self._events.close()
            self._rows.close()


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The rows of ``folder/metrics.jsonl`` in the order written, NaN for null; an unfinished last line is left out.

    Raises:
        UserError: there is no such file, or a line of it is no row.
    """
    path = Path(folder) / METRICS
    if not path.is_file():
        raise UserError(f"{path}: no such file; has this run logged anything yet?")
    return [{name: _finite_or_nan(value) for name, value in row.items()} for _, row in _rows(path)]


def flattened(config: Mapping[str, Any] | list | tuple, prefix: str = "") -> dict[str, bool | int | float | str]:
    """The leaves of a nested config by their dotted paths; lists of plain values and null are spelt as in JSON."""
    items = config.items() if isinstance(config, Mapping) else enumerate(config)
    flat: dict[str, bool | int | float | str] = {}
    for key, value in items:
        path = f"{prefix}{key}"
        nested = isinstance(value, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in value)
        if nested or (isinstance(value, Mapping) and value):
            flat |= flattened(value, f"{path}.")
        elif isinstance(value, bool | int | float | str):
            flat[path] = value
        else:
            flat[path] = json.dumps(value, default=str)
    return flat


def _forget(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the rows after ``step`` and an unfinished line; returns the rows that stay."""
    if not path.exists():
        return []
    kept = [(line, row) for line, row in _rows(path) if row["step"] <= step]
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.writelines(line for line, _ in kept)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    return [row for _, row in kept]


def _rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: not valid JSON: {error}") from error
            if not isinstance(row, dict) or not {"step", "time"} <= row.keys():
                raise UserError(f"{path}:{number}: not a row of metrics; expected an object with step and time")
            yield line, row


def _number(value: Any) -> int | float:
    return value if isinstance(value, int | float) else value.item()


def _finite_or_nan(value: Any) -> Any:
    return math.nan if value is None else value
