"""Draw the pictures of the outer loops for docs/loops: where each converges, and a short path.

    python scripts/figures/loops.py [FOLDER]

The left half is a convergence map, over the cohypomonotonicity and the step size of the quadratic game; the colour is
the contraction per gradient of a player. The right half plays 24 gradients of the bilinear game with the step size at
the white mark of the map. All loops have the same game, start, step size, axes and colours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor
from trajectories import chosen_folder, save

from gantrain.analysis.convergence_map import measured_rate, quadratic
from gantrain.analysis.guarantees import convergence_guaranteed
from gantrain.analysis.iteration_matrix import contraction
from gantrain.config.parts import build
from gantrain.config.types import Order
from gantrain.games import VectorField
from gantrain.outer import Outer
from gantrain.plotting.figures import COLOURS, GREY, LIGHT_GREY, STAR
from gantrain.solver import solve

# File -> (loop, order of the players).
LOOPS: dict[str, tuple[dict[str, Any], Order]] = {
    "gda": ({"name": "gda"}, "simultaneous"),
    "gda_alternating": ({"name": "gda"}, "alternating"),
    "extragradient": ({"name": "extragradient"}, "simultaneous"),
    "extragradient_plus": ({"name": "extragradient_plus"}, "simultaneous"),
    "optimistic": ({"name": "optimistic"}, "simultaneous"),
    "rapp": ({"name": "rapp"}, "simultaneous"),
    "rapp_many": ({"name": "rapp", "inner_steps": 12, "relaxation": 0.5}, "simultaneous"),
    "ceg_plus": ({"name": "ceg_plus"}, "simultaneous"),
    "ceg_plus_adaptive": ({"name": "ceg_plus", "adaptive": True, "relaxation": 1.0}, "simultaneous"),
    "anchored_extragradient": ({"name": "anchored_extragradient"}, "simultaneous"),
    "fast_extragradient": ({"name": "fast_extragradient"}, "simultaneous"),
    "rampage": ({"name": "rampage"}, "simultaneous"),
    "corrected_proximal_point": ({"name": "corrected_proximal_point"}, "simultaneous"),
    "lookahead": ({"name": "lookahead"}, "simultaneous"),
    "lookahead_extragradient": ({"name": "lookahead", "base": {"name": "extragradient"}}, "simultaneous"),
}
# Loops without an iteration matrix, and the outer steps of the runs in its place. Where each step multiplies by the
# same number, two steps are enough. The linear ones run on many games at once.
RUNS = {"anchored_extragradient": 400, "fast_extragradient": 60, "corrected_proximal_point": 2, "ceg_plus_adaptive": 2}
LINEAR = ("anchored_extragradient", "fast_extragradient")
# Loops that are told the game's cohypomonotonicity where it is negative, and the share of the step size below which
# they refuse it.
TOLD = {"fast_extragradient": 0.5, "corrected_proximal_point": 1.0}

RHO, GAMMA = np.linspace(-0.8, 1.0, 46), np.linspace(0.03, 1.5, 40)
STEP, GRADIENTS, START = 0.4, 24, (1.0, 0.0)


def draw(name: str) -> Figure:
    """Draw the picture of a loop."""
    spec, order = LOOPS[name]
    colour = COLOURS.get(spec["name"], COLOURS["extragradient"])
    figure = Figure(figsize=(5.6, 2.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.22, 1))
    iterates, points = path(spec, order)
    cost = len(points) / (len(iterates) - 1)
    rho, gamma = np.meshgrid(RHO, GAMMA)
    rate = np.minimum(rates(name, rho, gamma), 10) ** (1 / cost)
    _draw_map(figure, left, rho, gamma, rate, guaranteed(name, rho, gamma))
    _draw_path(right, iterates, points, colour)
    return figure


def path(spec: dict[str, Any], order: Order) -> tuple[np.ndarray, np.ndarray]:
    """The iterates of at most ``GRADIENTS`` gradients of the bilinear game, ``(k, 2)``, and where these are taken."""
    found: list[tuple[float, float]] = []

    def field(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        found.append((x.item(), y.item()))
        return y, -x

    start = [torch.tensor(value, dtype=torch.float64) for value in START]
    game = VectorField(field, {"x": start[0], "y": start[1]})
    one = solve(game, spec, {"name": "sgd", "lr": STEP}, order, steps=1)
    steps = GRADIENTS // one.evaluations["x"]
    found.clear()
    whole = solve(game, spec, {"name": "sgd", "lr": STEP}, order, steps=steps)
    points = np.array(found)
    if order == "alternating" or len(points) > whole.evaluations["x"]:
        points = points[:: len(points) // whole.evaluations["x"]]  # the field was asked for each player
    return torch.stack([whole["x"], whole["y"]], 1).numpy(), points


def rates(name: str, rho: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """The contraction per outer step on quadratic games, as ``gantrain map`` has it; NaN where the loop refuses them.

    Args:
        name: the loop.
        rho: values of ``rho L``.
        gamma: values of ``gamma L``, in the same shape.
    """
    spec, order = LOOPS[name]
    fields = gamma[..., None, None] * quadratic(rho)
    if name not in RUNS:
        return contraction(build("outer", spec), fields, (1, 1), order)
    # The step size 1 and the field gamma M are the same as gamma and M.
    keys = np.minimum(rho, 0.0) / gamma if name in TOLD else np.zeros_like(rho)
    groups = keys if name in LINEAR else np.arange(rho.size).reshape(rho.shape)
    found = np.full(rho.shape, np.nan)
    for group in np.unique(groups):
        where = groups == group
        key = keys[where].max()
        if name not in TOLD or key > -TOLD[name]:
            found[where] = measured_rate(told(name, key), fields[where], order, RUNS[name])
    return found


def guaranteed(name: str, rho: np.ndarray, gamma: np.ndarray) -> np.ndarray | None:
    """Where a theorem guarantees that the loop converges; None if no theorem is known."""
    spec, order = LOOPS[name]
    if order == "alternating":
        return None
    if name not in TOLD:
        return None if name == "rapp" else convergence_guaranteed(build("outer", spec), rho, gamma)
    columns = [convergence_guaranteed(told(name, min(r, 0.0)), r, gamma[:, 0]) for r in rho[0].tolist()]
    return np.stack([column for column in columns if column is not None], 1)


def told(name: str, comonotonicity: float) -> Outer:
    """The loop; if it can know the game's cohypomonotonicity, one that knows this."""
    spec = LOOPS[name][0]
    outer: Outer = build("outer", spec | {"comonotonicity": float(comonotonicity)} if name in TOLD else spec)
    return outer


def _draw_map(
    figure: Figure, axes: Axes, rho: np.ndarray, gamma: np.ndarray, rate: np.ndarray, proven: np.ndarray | None
) -> None:
    axes.set_facecolor(LIGHT_GREY)
    image = axes.pcolormesh(
        *(rho, gamma, np.ma.masked_invalid(rate)), cmap="RdBu_r", norm=TwoSlopeNorm(1.0, 0.8, 1.2), rasterized=True
    )
    axes.contour(rho, gamma, np.nan_to_num(rate, nan=10.0), levels=[1 - 1e-9], colors="black", linewidths=1.4)
    if proven is not None and proven.any():
        axes.contour(rho, gamma, proven.astype(float), levels=[0.5], colors="#117733", linewidths=1.8, linestyles="--")
    axes.plot(0, STEP, "o", color="white", markeredgecolor="black", markersize=6)
    axes.axvline(0, color=GREY, linewidth=0.6, linestyle=":")
    axes.set_xlabel(r"cohypomonotonicity $\rho L$")
    axes.set_ylabel(r"step size $\gamma L$")
    axes.tick_params(colors=GREY, labelsize=9)
    bar = figure.colorbar(image, ax=axes, extend="both", ticks=[0.8, 1.0, 1.2], pad=0.02, aspect=18)
    bar.ax.tick_params(colors=GREY, labelsize=8)
    bar.ax.set_title("rate", fontsize=9, color=GREY)


def _draw_path(axes: Axes, iterates: np.ndarray, points: np.ndarray, colour: str) -> None:
    axes.set_aspect("equal")
    axes.set(xlim=(-1.65, 1.65), ylim=(-1.65, 1.65))
    angle = np.linspace(0, 2 * np.pi, 100)
    axes.plot(np.cos(angle), np.sin(angle), color=LIGHT_GREY, linewidth=0.8)
    axes.plot(*points.T, "o", color="white", markeredgecolor=colour, markersize=4, markeredgewidth=0.9, zorder=3)
    axes.plot(*iterates.T, "-o", color=colour, linewidth=1.4, markersize=3, zorder=4)
    axes.plot(*START, "s", color="black", markersize=5, zorder=5)
    axes.plot(0, 0, "*", color=STAR, markeredgecolor="black", markersize=12, zorder=6)
    axes.set_title(f"{GRADIENTS} gradients", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(LIGHT_GREY)


if __name__ == "__main__":
    folder = chosen_folder(__doc__, Path("docs/images/loops"))
    for name in LOOPS:
        save(draw(name), folder / f"{name}.png")
