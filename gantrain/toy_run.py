"""The solve command: a toy game from a config, its trajectory as a table and as a picture."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantrain import plots
from gantrain.config import dump
from gantrain.errors import UserError
from gantrain.games.toy import ToyGame
from gantrain.parts import build
from gantrain.solving import Path as Iterates
from gantrain.solving import solve

PICTURE = "trajectory.png"


def solve_config(config: Any, output: str | Path | None = None) -> str:
    """Solve the toy game that ``config`` describes.

    Writes ``config.yaml``, ``trajectory.csv`` (step, x, y, distance to the solution) and ``trajectory.png`` into
    ``output``, or ``folder/name`` of the config.

    Returns:
        A line that says how near to the solution the iterates came, and one that says where the picture lies.

    Raises:
        UserError: the parts do not fit together, or ``output`` holds something other than an earlier solution.
    """
    folder = Path(output) if output else Path(config.folder) / config.name
    _check_free(folder)
    game = build("toy", config.game)
    if not isinstance(game, ToyGame):
        raise UserError(f"game: expected a subclass of gantrain.games.toy.ToyGame, got {type(game).__name__}")
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
    distances = torch.hypot(path["x"] - game.solution[0], path["y"] - game.solution[1])
    own = "target" in type(config.outer).model_fields
    method = config.outer.target.partition(":")[2] if own else config.outer.name
    figure = _drawn(game, path, method)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots.figure_to_png(figure, folder / PICTURE)
        _write(folder / "trajectory.csv", _table(path, distances))
        _write(folder / "config.yaml", dump(config))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    cost = max(path.evaluations.values())
    return f"{method}: {config.steps} steps, {cost} gradients a player, {_verdict(distances)}\n{folder / PICTURE}"


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and the results would lie there; choose another name or --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PICTURE).is_file():
        raise UserError(f"{folder}: exists and is not a solved game; choose another name or --output")


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
    return plots.trajectory(iterates, descent, solution=game.solution, view=(-half, half, -half, half))


def _table(path: Iterates, distances: torch.Tensor) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["step", "x", "y", "distance"])
    rows.writerows(
        (t, *map(repr, row)) for t, row in enumerate(torch.stack([path["x"], path["y"], distances], 1).tolist())
    )
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
