"""The figure of convergence maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gantrain.plotting.figures import COLOURS, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

    from gantrain.analysis.convergence_map import ConvergenceMap

_QUANTITIES = {
    "rho": r"cohypomonotonicity $\rho L$",
    "gamma": r"step size $\gamma L$",
    "relaxation": r"relaxation $\lambda$",
    "inner_steps": r"inner steps $\tau$",
}
_SLOWEST, _FASTEST = 1.5, 0.5
_THEORY, _LAPLACE = "#117733", "#882255"
_GUARANTEED = "guaranteed by theory (RAPP: with many inner steps)"


def convergence_figure(
    maps: Sequence[ConvergenceMap], x: np.ndarray, y: np.ndarray, xlabel: str, ylabel: str
) -> Figure:
    """Draw a column for each loop: above the spectral radius, below the rate of a run.

    The loop contracts where the map is blue and expands where it is red; a black line separates the two. The dashed
    line encloses the settings for which a theorem guarantees convergence, and the dotted one, for Lookahead over GDA,
    those for which the Laplace transform predicts it.

    Args:
        maps: the maps of the loops.
        x: the values on the horizontal axis.
        y: the values on the vertical axis.
        xlabel: the key of the horizontal axis.
        ylabel: the key of the vertical axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(2.6 * len(maps) + 1.2, 5.4), dpi=100, layout="constrained")
    grid = figure.subplots(2, len(maps), sharex=True, sharey=True, squeeze=False)
    for m, column in zip(maps, grid.T, strict=True):
        for axes, rate in zip(column, (m.exact, m.measured), strict=True):
            image = _rates(axes, x, y, rate)
            if m.guaranteed is not None:
                _outline(axes, x, y, m.guaranteed.astype(float), 0.5, _THEORY, "--", 1.8)
            if m.laplace is not None:
                _outline(axes, x, y, m.laplace.astype(float), 0.5, _LAPLACE, ":", 1.8)
        name, *settings = m.label.split()
        column[0].set_title(f"{name}\n{' '.join(settings)}", fontsize=9, color=COLOURS.get(name, "black"))
        column[-1].set_xlabel(_QUANTITIES.get(xlabel, xlabel))
    for axes, source in zip(grid[:, 0], ("iteration matrix", "run"), strict=True):
        axes.set_ylabel(f"{source}\n{_QUANTITIES.get(ylabel, ylabel)}")
    bar = figure.colorbar(image, ax=grid, shrink=0.7, extend="both", label="contraction per outer step")
    bar.ax.axhline(1.0, color="black", linewidth=1.4)
    handles = [
        Line2D([], [], color="black", linewidth=1.4, label="rate 1"),
        Line2D([], [], color=_THEORY, linewidth=1.8, linestyle="--", label=_GUARANTEED),
    ]
    if any(m.laplace is not None for m in maps):
        handles.append(Line2D([], [], color=_LAPLACE, linewidth=1.8, linestyle=":", label="by Laplace transform"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _rates(axes: Axes, x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> QuadMesh:
    from matplotlib.colors import TwoSlopeNorm

    shown = np.clip(rate, 0, 10)
    norm = TwoSlopeNorm(1.0, _FASTEST, _SLOWEST)
    image = axes.pcolormesh(x, y, shown, cmap="RdBu_r", norm=norm, shading="nearest", rasterized=True)
    _outline(axes, x, y, shown, 1.0, "black", "-", 1.4)
    axes.tick_params(colors=GREY, labelsize=8)
    return image


def _outline(
    axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, level: float, colour: str, dashes: str, width: float
) -> None:
    if min(values.shape) > 1 and values.min() < level < values.max():
        axes.contour(x, y, values, levels=[level], colors=[colour], linestyles=[dashes], linewidths=[width])
