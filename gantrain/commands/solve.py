"""The solve command: a toy game from a config, its trajectory as a table and as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantrain.config.loading import dump
from gantrain.config.parts import build
from gantrain.errors import UserError
from gantrain.games.toy import SolvedGame, ToyGame
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.solver import Path as Iterates
from gantrain.solver import solve
from gantrain.utils.io import check_results_folder, write, writing_into

PICTURE = "trajectory.png"


def solve_config(config: Any, output: str | Path | None = None) -> str:
    """Solve the toy game that ``config`` describes.

    Writes ``config.yaml``, ``trajectory.csv`` (step, the players' numbers, distance to the solution) and
    ``trajectory.png`` into ``output``, or ``folder/name`` of the config. The picture shows the path of a game of two
    scalars, and the distance of any other.

    Returns:
        A line that says how near to the solution the iterates came, and one that says where the picture lies.

    Raises:
        UserError: the parts do not fit together, or ``output`` holds something other than an earlier solution.
    """
    folder = Path(output) if output else Path(config.folder) / config.name
    check_results_folder(folder, PICTURE, "the results", "a solved game")
    game = build("toy", config.game)
    if not isinstance(game, SolvedGame):
        raise UserError(f"game: expected a subclass of gantrain.games.toy.SolvedGame, got {type(game).__name__}")
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
    figure = _drawn(game, path, method) if isinstance(game, ToyGame) else _fallen(distances, method)
    with writing_into(folder):
        figure_to_png(figure, folder / PICTURE)
        write(folder / "trajectory.csv", _table(path, distances))
        write(folder / "config.yaml", dump(config))
    cost = max(path.evaluations.values())
    return f"{method}: {config.steps} steps, {cost} gradients a player, {_verdict(distances)}\n{folder / PICTURE}"


def _verdict(distances: torch.Tensor) -> str:
    wrong = (~distances.isfinite()).nonzero()
    if len(wrong):
        return f"which diverged: not finite from step {int(wrong[0])} on"
    return f"distance to the solution {distances[0]:.3g} at the start, {distances[-1]:.3g} at the end"


def _drawn(game: ToyGame, path: Iterates, method: str) -> Any:
    def descent(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fx, fy = game.field(torch.from_numpy(x), torch.from_numpy(y))
        return -fx.numpy(), -fy.numpy()

    half = game.domain
    iterates = {method: (path["x"].numpy(), path["y"].numpy())}
    return figures.trajectory(iterates, descent, solution=game.solution, view=(-half, half, -half, half))


def _fallen(distances: torch.Tensor, method: str) -> Any:
    steps = np.arange(len(distances))
    return figures.curves(
        {method: (steps, distances.numpy())}, "outer step", "distance to the solution", logarithmic="y"
    )


def _table(path: Iterates, distances: torch.Tensor) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    columns = {"step": torch.arange(len(distances))}
    for name, values in path.items():
        columns |= {name: values} if values.ndim == 1 else {f"{name}.{i}": v for i, v in enumerate(values.unbind(1))}
    columns["distance"] = distances
    rows.writerow(columns)
    rows.writerows(zip(*(map(repr, column.tolist()) for column in columns.values()), strict=True))
    return stream.getvalue()
