"""The solve command: a toy game from a config, its trajectory as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gantrain.config.loading import dump
from gantrain.config.parts import build
from gantrain.config.schema import SolveConfig
from gantrain.games.toy import SolvedGame, ToyGame
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.solver import Path as Iterates
from gantrain.solver import solve
from gantrain.utils.io import make_folder, require_free, write_csv, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE = "trajectory.png"


def solve_config(config: SolveConfig, output: str | Path | None = None) -> str:
    """Solve the toy game that ``config`` describes.

    Writes ``config.yaml``, ``trajectory.csv`` (step, the players' numbers, distance to the solution) and
    ``trajectory.png`` into ``output``, or ``folder/name`` of the config. The picture shows the path of a game of two
    scalars, and the distance of any other.

    Returns:
        A line that says how near to the solution the iterates ended, and the path of the picture.

    Raises:
        UserError: the parts do not fit together, or ``output`` holds something other than an earlier solution.
    """
    folder = Path(output) if output else Path(config.folder) / config.name
    require_free(folder, PICTURE, "the results", "a solved game")
    game: SolvedGame = build("toy", config.game)
    path = solve(
        game,
        outer=config.outer,
        optimizer=config.optimizer,
        order=config.order,
        samples=config.samples,
        sharpness=config.sharpness,
        constraint=config.constraint,
        steps=config.steps,
    )
    distances = game.distances(path)
    own = "target" in type(config.outer).model_fields
    method = config.outer.target.partition(":")[2] if own else config.outer.name
    figure = _path_figure(game, path, method) if isinstance(game, ToyGame) else _distance_figure(distances, method)
    make_folder(folder)
    figure_to_png(figure, folder / PICTURE)
    write_csv(folder / "trajectory.csv", _rows(path, distances))
    write_file(folder / "config.yaml", dump(config))
    cost = max(path.evaluations.values())
    return f"{method}: {config.steps} steps, {cost} gradients a player, {_verdict(distances)}\n{folder / PICTURE}"


def _verdict(distances: torch.Tensor) -> str:
    wrong = (~distances.isfinite()).nonzero()
    if len(wrong):
        return f"which diverged: not finite from step {int(wrong[0])} on"
    return f"distance to the solution {distances[0]:.3g} at the start, {distances[-1]:.3g} at the end"


def _path_figure(game: ToyGame, path: Iterates, method: str) -> Figure:
    def descent(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fx, fy = game.field(torch.from_numpy(x), torch.from_numpy(y))
        return -fx.numpy(), -fy.numpy()

    half = game.domain
    iterates = {method: (path["x"].numpy(), path["y"].numpy())}
    return figures.trajectory(iterates, (-half, half, -half, half), descent, game.solution)


def _distance_figure(distances: torch.Tensor, method: str) -> Figure:
    steps = np.arange(len(distances))
    return figures.curves(
        {method: (steps, distances.numpy())}, "outer step", "distance to the solution", logarithmic="y"
    )


def _rows(path: Iterates, distances: torch.Tensor) -> Iterator[Sequence[str]]:
    columns = {"step": torch.arange(len(distances))}
    for name, values in path.items():
        columns |= {name: values} if values.ndim == 1 else {f"{name}.{i}": v for i, v in enumerate(values.unbind(1))}
    columns["distance"] = distances
    yield list(columns)
    yield from zip(*(map(repr, column.tolist()) for column in columns.values()), strict=True)
