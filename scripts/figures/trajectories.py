"""Draw the limit cycles of GDA and extragradient, and the loops that leave them, on Forsaken and PolarGame.

    python scripts/figures/trajectories.py [FOLDER]

Each game has one figure of the methods that end in a limit cycle and one of those that reach the solution. The settings
are our choice, since those of the figures of arXiv 2310.13459 were not found: small step sizes for the loops that
follow the field, larger ones for the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from gantrain.games.toy import Forsaken, PolarGame, ToyGame
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.solver import solve

BOX = {"name": "box", "low": -1.5, "high": 1.5}
CEG_PLUS = {"name": "ceg_plus", "relaxation": 0.5}

# file -> (game, constraint, runs: label -> (outer loop, step size, outer steps))
FIGURES: dict[str, tuple[ToyGame, Any, dict[str, tuple[Any, float, int]]]] = {
    "forsaken_cycles": (
        Forsaken(),
        BOX,
        {"gda": ("gda", 0.05, 300), "extragradient": ("extragradient", 0.08, 200)},
    ),
    "forsaken_converges": (
        Forsaken(),
        BOX,
        {
            "rapp": ({"name": "rapp", "inner_steps": 10, "relaxation": 0.5}, 0.5, 150),
            "lookahead": ({"name": "lookahead", "inner_steps": 20, "relaxation": 0.2}, 0.15, 60),
            "lookahead_ceg_plus": (
                {"name": "lookahead", "inner_steps": 20, "relaxation": 0.2, "base": CEG_PLUS},
                0.15,
                60,
            ),
        },
    ),
    "polar_cycles": (
        PolarGame(a=1.0),
        None,
        {"gda": ("gda", 0.02, 500), "extragradient": ("extragradient", 0.02, 500)},
    ),
    "polar_converges": (
        PolarGame(a=1.0),
        None,
        {
            "rapp": ({"name": "rapp", "inner_steps": 10, "relaxation": 0.9}, 0.15, 400),
            "lookahead": ({"name": "lookahead", "inner_steps": 20, "relaxation": 0.2}, 0.1, 60),
            "lookahead_ceg_plus": (
                {"name": "lookahead", "inner_steps": 20, "relaxation": 0.2, "base": CEG_PLUS},
                0.15,
                60,
            ),
        },
    ),
}


def draw(name: str) -> tuple[Figure, dict[str, float]]:
    """Draw the figure of that name; returns it with the distance to the solution at the end of each method's path."""
    game, constraint, runs = FIGURES[name]
    paths, ends = {}, {}
    for method, (outer, lr, steps) in runs.items():
        path = solve(game, outer, {"name": "sgd", "lr": lr}, constraint=constraint, steps=steps)
        paths[f"{method} $\\gamma={lr}$"] = path["x"], path["y"]
        ends[method] = game.distances(path)[-1].item()
    half = game.domain
    view = (-half, half, -half, half)
    return figures.trajectory(paths, view, descent(game), game.solution), ends


def descent(game: ToyGame) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The direction of descent, ``-F``, on arrays."""

    def direction(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fx, fy = game.field(torch.from_numpy(x), torch.from_numpy(y))
        return -fx.numpy(), -fy.numpy()

    return direction


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of 256 colours, which takes a third of the bytes."""
    figure_to_png(figure, path)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    few.save(path, optimize=True)


def chosen_folder(description: str | None, default: Path = Path("scripts/bench/results/figures")) -> Path:
    """The folder that the command line names for the figures, which is made where it is missing."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    folder = chosen_folder(__doc__)
    for name in FIGURES:
        figure, ends = draw(name)
        save(figure, folder / f"{name}.png")
        print(name, {method: f"{end:.2g}" for method, end in ends.items()})
