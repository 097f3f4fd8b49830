"""The map command: where outer loops converge, as a picture and as a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from gantrain.analysis.convergence_map import ConvergenceMap, axis_values, convergence_map
from gantrain.config.loading import dump
from gantrain.config.schema import MapConfig
from gantrain.plotting.convergence_map import maps as drawn
from gantrain.plotting.images import figure_to_png
from gantrain.utils.io import check_results_folder, write, writing_into

PICTURE = "map.png"


def map_config(config: MapConfig, output: str | Path | None = None) -> str:
    """Draw the maps that ``config`` describes.

    Writes ``config.yaml``, ``map.csv`` (loop, x, y, spectral radius, measured rate, guaranteed) and ``map.png`` into
    ``output``, or ``folder/name`` of the config.

    Returns:
        For each loop how much of the map contracts, and where the picture lies.

    Raises:
        UserError: an axis that a loop does not have, or ``output`` holds something other than an earlier map.
    """
    folder = Path(output) if output else Path(config.folder) / config.name
    check_results_folder(folder, PICTURE, "the map", "a map")
    maps = [convergence_map(config, i) for i in range(len(config.outers))]
    figure = drawn(maps, axis_values(config.x), axis_values(config.y), config.x.key, config.y.key)
    with writing_into(folder):
        figure_to_png(figure, folder / PICTURE)
        write(folder / "map.csv", _table(config, maps))
        write(folder / "config.yaml", dump(config))
    lines = [f"{m.label}: contracts on {(m.exact < 1).mean():.0%} of the map{_promise(m)}" for m in maps]
    return "\n".join([*lines, str(folder / PICTURE)])


def _promise(m: ConvergenceMap) -> str:
    return "" if m.guaranteed is None else f", is guaranteed to on {m.guaranteed.mean():.0%}"


def _table(config: MapConfig, maps: list[ConvergenceMap]) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["outer", config.x.key, config.y.key, "spectral_radius", "measured", "guaranteed"])
    x, y = np.meshgrid(axis_values(config.x), axis_values(config.y))
    for m in maps:
        promised = np.full(x.shape, "") if m.guaranteed is None else m.guaranteed.astype(int)
        columns = (a.ravel().tolist() for a in (x, y, m.exact, m.measured, promised))
        rows.writerows((m.label, *row) for row in zip(*columns, strict=True))
    return stream.getvalue()
