"""The map command: where outer loops converge, as a picture and as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantrain.analysis.convergence_figure import convergence_figure
from gantrain.analysis.convergence_map import ConvergenceMap, axis_values, convergence_map
from gantrain.config.loading import dump
from gantrain.config.merge import parse_overrides
from gantrain.config.schema import MapConfig
from gantrain.errors import UserError
from gantrain.plotting.images import figure_to_png
from gantrain.utils.io import make_folder, require_free, write_csv, write_file
from gantrain.utils.nested import flatten

PICTURE = "map.png"


def require_unfixed(config: MapConfig, overrides: Sequence[str]) -> None:
    """Refuse arguments of the command line that fix what an axis of the map varies, since they would change nothing.

    A file may fix such a key, for the command line may have chosen another axis.

    Args:
        config: the config that the arguments have made.
        overrides: the arguments ``key=value``.

    Raises:
        UserError: an argument fixes the key of an axis.
    """
    axes = {config.x.key: "x", config.y.key: "y"}
    for path in flatten(parse_overrides(overrides)[0]):
        axis = axes.get(re.sub(r"^outers\.\d+\.", "", path))
        if axis is not None:
            raise UserError(
                f"{path}: varies along the axis {axis}, so that a fixed value changes nothing; leave it out, or change "
                f"{axis}.low and {axis}.high"
            )


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
