"""What TensorBoard is given of a run: scalars in groups, charts, the table of hyper-parameters, pictures, texts."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gantrain.runs.events import Events
from gantrain.runs.hyper_parameters import CHANGES, Cell
from gantrain.runs.tags import tag

# The columns that the table shows at first, which are five. TensorBoard sorts them by name.
_SHOWN = re.compile(rf"{CHANGES}|outer|run\.seed|.*\.optimizer\.lr")
# The categories of the custom charts, each with the tags that have a chart of their own in it. With one tag a chart
# stays legible if it shows many runs.
_CHARTS = {
    "quality": re.compile(r"quality/.*|game/.*"),
    "losses": re.compile(r"loss/.*"),
    "scores": re.compile(r"score/(real|fake|real_sign)"),
    "health": re.compile(r"gradient_norm/.*|health/(advice/(spread|copies|r|r_v)|clipped/.*|loss_scale/.*|ada/p)"),
}
# The number of bars of a histogram.
_BARS = 30
_LARGEST = float(np.finfo(float).max)


class Board:
    """Writes the events of a run.

    Args:
        folder: the folder of the run, which exists.
        forgotten_from: the step from which on TensorBoard leaves out what earlier files have.
        known: the names of scalars that the run has had already.
    """

    def __init__(self, folder: Path, forgotten_from: int, known: Collection[str] = ()):
        from torch.utils.tensorboard import summary

        self._events = Events(folder, forgotten_from)
        self._summary = summary
        self._tags: list[str] = []
        self._lay_out(known)

    def scalars(self, step: int, numbers: Mapping[str, float], seconds: float) -> None:
        """Write the scalars of a row, and the seconds of training so far."""
        named = {tag(name): number for name, number in [*numbers.items(), ("time", seconds)]}
        self._events.add(*(self._summary.scalar(name, number) for name, number in named.items()), step=step)
        self._lay_out(numbers)

    def histogram(self, name: str, step: int, values: Sequence[float]) -> None:
        """Write how values are distributed; values that are not finite are left out."""
        numbers = np.asarray(values, dtype=float)
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return
        counts, edges = np.histogram(numbers, bins=_edges(numbers))
        with np.errstate(over="ignore"):
            moments = {"sum": float(numbers.sum()), "sum_squares": float((numbers**2).sum())}
        extent = {"min": float(numbers.min()), "max": float(numbers.max()), "num": numbers.size}
        bars = {"bucket_limits": edges[1:].tolist(), "bucket_counts": counts.tolist()}
        self._events.add(self._summary.histogram_raw(name, **extent, **moments, **bars), step=step)

    def image(self, name: str, step: int, image: Tensor) -> None:
        """Write a picture, uint8 CHW."""
        self._events.add(self._summary.image(name, image, dataformats="CHW"), step=step)

    def text(self, name: str, step: int, text: str) -> None:
        """Write Markdown."""
        self._events.add(self._summary.text(name, text), step=step)

    def begin(self, hyper_parameters: Mapping[str, Cell], metrics: Iterable[str]) -> None:
        """Enter the run into the table of hyper-parameters. It has one entry, however often it goes on.

        TensorBoard takes the values of metrics from the scalars, so that the entry has the newest.

        Args:
            hyper_parameters: the cells by column.
            metrics: the names of the scalars that have columns.
        """
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        columns = []
        for name, cell in sorted(hyper_parameters.items()):
            column = api_pb2.HParamInfo(name=name, differs=_SHOWN.fullmatch(name) is not None)
            if isinstance(cell, bool):
                column.type, start.hparams[name].bool_value = api_pb2.DATA_TYPE_BOOL, cell
            elif isinstance(cell, str):
                column.type, start.hparams[name].string_value = api_pb2.DATA_TYPE_STRING, cell
            else:
                column.type, start.hparams[name].number_value = api_pb2.DATA_TYPE_FLOAT64, cell
            columns.append(column)
        shown = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag(name)), display_name=name.removeprefix("game/"))
            for name in metrics
        ]
        experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=shown)
        self._table(metadata.EXPERIMENT_TAG, experiment=experiment)
        self._table(metadata.SESSION_START_INFO_TAG, session_start_info=start)

    def finish(self) -> None:
        """Enter into the table that the run is finished."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.Status.Value("STATUS_SUCCESS")
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._table(metadata.SESSION_END_INFO_TAG, session_end_info=end)

    def close(self) -> None:
        """Close the file."""
        self._events.close()

    def _table(self, name: str, **content: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
        plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
        self._events.add(Summary(value=[Summary.Value(tag=name, metadata=SummaryMetadata(plugin_data=plugin))]))

    def _lay_out(self, names: Collection[str]) -> None:
        """Write the custom charts anew if there are new scalars."""
        new = [name for name in map(tag, names) if name not in self._tags]
        if not new:
            return
        self._tags += new
        layout = {
            category: {name: ["Multiline", [f"^{re.escape(name)}$"]] for name in self._tags if wanted.fullmatch(name)}
            for category, wanted in _CHARTS.items()
        }
        shown = {category: charts for category, charts in layout.items() if charts}
        self._events.add(self._summary.custom_scalars(shown))


def _edges(numbers: np.ndarray) -> np.ndarray:
    """The ends of the bars of a histogram: as many as there are numbers for, since scores of any size are shown."""
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        half = max(0.5, float(np.spacing(abs(low))))
        low, high = max(low - half, -_LARGEST), min(high + half, _LARGEST)
    inner = 2 * np.linspace(low / 2, high / 2, _BARS + 1)[1:-1]  # the distance of the halves is finite
    return np.unique([low, *inner[(low < inner) & (inner < high)], high])
