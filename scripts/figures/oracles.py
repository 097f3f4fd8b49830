"""Draw the pictures of the gradient oracles for docs/oracles: where each takes its gradients, and where the step leads.

    python scripts/figures/oracles.py [FOLDER]

The left half shows one move on a quadratic loss: the points at which gradients are taken, the step that the optimizer
takes along the oracle's gradient, and the plain step of the same learning rate. The right half shows a path; a thin
line leads from each of its points to the perturbed point.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn
from trajectories import chosen_folder, save

from gantrain.games import Minimize
from gantrain.plotting.figures import COLOURS, GREY, LIGHT_GREY, STAR
from gantrain.sharpness import lower_bound
from gantrain.solver import solve

CURVATURES = torch.tensor([1.0, 5.0], dtype=torch.float64)
START, RHO, LR = (-1.5, 0.8), 0.5, 0.16
PATH = 12  # moves
COLOUR = COLOURS["sam"]
# File -> (keys of the oracle, labels of the points at which the first move takes its gradients).
ORACLES: dict[str, tuple[dict[str, Any] | None, Sequence[str]]] = {
    "plain": (None, ["w"]),
    "sam": ({"name": "sam"}, ["w", "w + ε"]),
    "sampa": ({"name": "sampa", "mix": 0.2}, ["x", "x + ε", "y′"]),
    "gsam": ({"name": "gsam", "alpha": 0.8}, ["w", "w + ε"]),
    "gradient_norm": ({"name": "gradient_norm", "alpha": 0.5}, ["w", "w + ε"]),
    "esam": ({"name": "esam", "beta": 0.7, "gamma": 1.0}, ["w", "w + ε"]),
    "ae_sam": ({"name": "ae_sam"}, ["w", "w + ε"]),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "SAM": {},
    "ASAM": {"geometry": "elementwise"},
    "OptSAM": {"direction": "previous"},
    "RandSAM": {"direction": "random"},
    "MSAM": {"direction": "momentum"},
    "VaSSO": {"direction": "smoothed", "theta": 0.4},
    "F-SAM": {"direction": "friendly"},
    "LookSAM": {"every": 4},
}


class Point(nn.Module):
    """A point in the plane, whose two coordinates are parameters of their own."""

    def __init__(self, at: Sequence[float]):
        super().__init__()
        self.coordinates = nn.ParameterList(nn.Parameter(torch.tensor(c, dtype=torch.float64)) for c in at)

    def forward(self) -> Tensor:
        return torch.stack(list(self.coordinates))


def path(
    sharpness: dict[str, Any] | None, steps: int, lr: float, momentum: float = 0.0, noise: float = 0.0
) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """The iterates on the quadratic loss, ``(steps + 1, 2)``, and for each move the points of its gradients.

    Args:
        sharpness: the oracle; None for the plain gradient.
        steps: the number of moves.
        lr: the learning rate of SGD.
        momentum: its momentum.
        noise: the size of a random slope that is added to the loss, another one for each batch.
    """
    taken: list[list[np.ndarray]] = [[] for _ in range(steps)]
    slopes = noise * torch.randn(steps + 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(point: nn.Module, batch: tuple[int, int]) -> Tensor:
        draw, step = batch
        w = point()
        taken[step].append(w.detach().numpy().copy())
        return (CURVATURES * w * w).sum() / 2 + slopes[draw] @ w

    oracle = None if sharpness is None else {"rho": RHO} | sharpness
    optimizer = {"name": "sgd", "lr": lr, "momentum": momentum}
    found = solve(
        *(Minimize(loss, Point(START)), "gda", optimizer), sharpness=oracle, batches=lambda *at: at, steps=steps
    )
    return found["x"].numpy(), taken


def draw(name: str) -> Figure:
    """Draw the picture of an oracle."""
    sharpness, labels = ORACLES[name]
    figure = Figure(figsize=(5.6, 2.7), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    (w, after), (points,) = path(sharpness, 1, LR)
    _contours(left, (-2.2, 0.2), (-0.8, 1.6))
    if sharpness is not None:
        _arrow(left, w, w - LR * CURVATURES.numpy() * w, GREY, "plain step", (6, 4), "--")
    for point, label in zip(points, labels, strict=True):
        if not np.allclose(point, w):
            left.plot(*np.stack([w, point]).T, color=COLOUR, linewidth=1.0)
        left.plot(*point, "o", color="white", markeredgecolor=COLOUR, markersize=7, markeredgewidth=1.4, zorder=4)
        # To the left where a label to the right would lie on another point.
        beside = {"y′": (-20, -4), "w + ε": (-18, 8)}.get(label, (6, 5)) if point[1] <= w[1] else (6, 5)
        left.annotate(label, point, beside, textcoords="offset points", fontsize=10, color=COLOUR, zorder=6)
    _arrow(left, w, after, COLOUR, "step", (-28, -4))
    left.set_title("one move", fontsize=10)
    # Exact gradients only become shorter, so that AE-SAM would leave off once and for all.
    noise = 1.0 if name == "ae_sam" else 0.0
    _draw_path(right, *path(sharpness, PATH, LR / 2, noise=noise))
    right.set_title(f"{PATH} moves", fontsize=10)
    return figure


def variants() -> Figure:
    """Draw a path for each direction and each way to save gradients, on a loss whose gradients have noise."""
    figure = Figure(figsize=(5.2, 8.6), dpi=150, layout="constrained")
    for axes, (name, keys) in zip(figure.subplots(4, 2).flat, VARIANTS.items(), strict=True):
        _draw_path(axes, *path({"name": "sam", **keys}, PATH, LR / 4, momentum=0.5, noise=1.0))
        axes.set_title(name, fontsize=11)
    return figure


def climbed() -> Figure:
    """Draw the functions that a perturbation may climb over the margin of the right one of two classes."""
    figure = Figure(figsize=(4.6, 3.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    margin = torch.linspace(-6, 6, 241, dtype=torch.float64)
    right = torch.ones(len(margin), dtype=torch.int64)
    lines = {
        "cross-entropy": (torch.nn.functional.softplus(-margin), GREY, ":"),
        "0-1 loss": ((margin < 0).double(), "black", "-"),
        "tanh, alpha 0.1": (lower_bound(margin, right, "tanh"), COLOURS["extragradient"], "-"),
        "tanh, alpha 1": (lower_bound(margin, right, "tanh", alpha=1.0), COLOURS["extragradient"], "--"),
        "log": (lower_bound(margin, right, "log"), COLOURS["gda"], "-"),
    }
    for label, (values, colour, dashes) in lines.items():
        axes.plot(margin.numpy(), values.numpy(), color=colour, linestyle=dashes, linewidth=1.6, label=label)
    axes.set(ylim=(-0.2, 2.6), xlabel="logit of the right class − logit of the other", ylabel="value for one sample")
    axes.tick_params(colors=GREY, labelsize=9)
    axes.legend(fontsize=9, frameon=False)
    return figure


def _draw_path(axes: Axes, iterates: np.ndarray, taken: list[list[np.ndarray]]) -> None:
    _contours(axes, (-2.15, 0.5), (-1.1, 1.55))
    for w, points in zip(iterates, taken, strict=False):
        for point in points:
            if not np.allclose(point, w):
                axes.plot(*np.stack([w, point]).T, color=COLOUR, linewidth=0.9)
                axes.plot(*point, "o", color="white", markeredgecolor=COLOUR, markersize=4, markeredgewidth=0.9)
    axes.plot(*iterates.T, "-o", color="black", linewidth=1.2, markersize=2.5, zorder=4)
    axes.plot(*iterates[0], "s", color="black", markersize=5, zorder=5)


def _contours(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    a, b = np.meshgrid(np.linspace(*x, 120), np.linspace(*y, 120))
    one, two = CURVATURES.tolist()
    loss = (one * a * a + two * b * b) / 2
    axes.contour(a, b, loss, levels=np.arange(1, 9) ** 2 / 8, colors=LIGHT_GREY, linewidths=0.8)
    axes.plot(0, 0, "*", color=STAR, markeredgecolor="black", markersize=11, zorder=6)
    axes.set(xlim=x, ylim=y, aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(LIGHT_GREY)


def _arrow(
    axes: Axes, start: np.ndarray, end: np.ndarray, colour: str, label: str, beside: tuple[int, int], dashes: str = "-"
) -> None:
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "linestyle": dashes, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=arrow, zorder=5)
    axes.annotate(label, end, beside, textcoords="offset points", fontsize=9, color=colour)


if __name__ == "__main__":
    folder = chosen_folder(__doc__, Path("docs/images/oracles"))
    for name in ORACLES:
        save(draw(name), folder / f"{name}.png")
    save(variants(), folder / "sam_variants.png")
    save(climbed(), folder / "bisam.png")
