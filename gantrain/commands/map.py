"""The map command: where outer loops converge, as a picture and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.analysis.convergence_figure import convergence_figure
from gantrain.analysis.convergence_map import ConvergenceMap, axis_values, convergence_map
from gantrain.config.loading import dump
from gantrain.config.schema import MapConfig
from gantrain.plotting.images import figure_to_png
from gantrain.utils.io import make_folder, require_free, write_csv, write_file

PICTURE = "map.png"


def map_config(config: MapConfig, output: str | Path | None = None) -> str:
    """Draw the maps that ``config`` describes.

    Writes ``config.yaml``, ``map.csv`` (loop, x, y, spectral radius, measured rate, guaranteed, and for Lookahead over
    GDA the criterion by Laplace transform) and ``map.png`` into ``output``, or ``folder/name`` of the config.

    Returns:
        A line for each loop that says on which share of the map it contracts, and the path of the picture.

    Raises:
        UserError: a loop lacks the key of an axis, or ``output`` holds something other than an earlier map.
    """
    folder = Path(output) if output else Path(config.folder) / config.name
    require_free(folder, PICTURE, "the map", "a map")
    maps = [convergence_map(config, i) for i in range(len(config.outers))]
    figure = convergence_figure(maps, axis_values(config.x), axis_values(config.y), config.x.key, config.y.key)
    make_folder(folder)
    figure_to_png(figure, folder / PICTURE)
    write_csv(folder / "map.csv", _rows(config, maps))
    write_file(folder / "config.yaml", dump(config))
    lines = [f"{m.label}: contracts on {(m.exact < 1).mean():.0%} of the map{_promise(m)}" for m in maps]
    return "\n".join([*lines, str(folder / PICTURE)])


def _promise(m: ConvergenceMap) -> str:
    promise = "" if m.guaranteed is None else f", is guaranteed to on {m.guaranteed.mean():.0%}"
    return promise + ("" if m.laplace is None else f", by its Laplace transform on {m.laplace.mean():.0%}")


def _rows(config: MapConfig, maps: Sequence[ConvergenceMap]) -> Iterator[Sequence[Any]]:
    yield ["outer", config.x.key, config.y.key, "spectral_radius", "measured", "guaranteed", "laplace"]
    x, y = np.meshgrid(axis_values(config.x), axis_values(config.y))
    for m in maps:
        known = (np.full(x.shape, "") if a is None else a.astype(int) for a in (m.guaranteed, m.laplace))
        columns = (a.ravel().tolist() for a in (x, y, m.exact, m.measured, *known))
        yield from ((m.label, *row) for row in zip(*columns, strict=True))
