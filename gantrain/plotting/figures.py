"""Matplotlib figures: points in the plane, paths of toy games, curves with error bands, spectra.

Figures are made without pyplot, so that no state outlives a call; matplotlib is imported when the first one is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    Numbers = ArrayLike | Tensor

# Each method has the same colour in all figures; the colours are distinct to the colour-blind (Okabe & Ito 2008).
COLOURS = {
    "gda": "#D55E00",
    "extragradient": "#0072B2",
    "extragradient_plus": "#56B4E9",
    "optimistic": "#CC79A7",
    "rapp": "#009E73",
    "lookahead": "#E69F00",
    "ceg_plus": "#000000",
    "lookahead_ceg_plus": "#8A4B08",
    "lookahead_extragradient": "#4B0092",
    "sam": "#2020E0",
    "sampa": "#AA0055",
}
GREY, LIGHT_GREY, STAR = "#777777", "#c8c8c8", "#F0E442"
# Axes cannot span more than a double holds, of which some is lost on margins.
_LARGEST = 1e300


def scatter(points: Numbers, modes: Numbers | None = None, real: Numbers | None = None) -> Figure:
    """Draw points in the plane on equal axes.

    Args:
        points: the generated points, ``(n, 2)``.
        modes: the centres of the data, ``(m, 2)``, marked with crosses.
        real: points of the data, ``(k, 2)``, drawn in light grey underneath; the axes are chosen to show them.
    """
    generated = _array(points)
    figure, axes = _figure(4.5, 4.5)
    if real is not None:
        _scatter(axes, _array(real), s=5, color=LIGHT_GREY, linewidths=0, label="data")
    _scatter(axes, generated, s=7, color=COLOURS["extragradient"], alpha=0.6, linewidths=0, label="generated")
    if modes is not None:
        _scatter(axes, _array(modes), s=60, marker="x", color=COLOURS["gda"], linewidths=1.6, label="modes")
    framing = [_array(x) for x in (real, modes) if x is not None] or [generated]
    _frame(axes, np.concatenate(framing), margin=0.25)
    if real is not None or modes is not None:
        axes.legend(loc="upper right", markerscale=1.2)
    return figure


def histogram(numbers: Numbers, real: Numbers | None = None) -> Figure:
    """Draw how often generated numbers fall into equal intervals, over the same for the data.

    Args:
        numbers: the generated numbers, ``(n,)`` or ``(n, 1)``.
        real: numbers of the data, ``(k,)`` or ``(k, 1)``, drawn in light grey; the intervals are chosen to show
            them. None for none.
    """
    figure, axes = _figure(4.5, 3.5)
    axes.set_aspect("auto")
    generated = _drawable(_array(numbers)).ravel()
    data = generated if real is None else _drawable(_array(real)).ravel()
    edges = np.histogram_bin_edges(data[np.isfinite(data)], bins=40).tolist()
    if real is not None:
        axes.hist(data, edges, density=True, color=LIGHT_GREY, label="data")
    inside = generated[(generated >= edges[0]) & (generated <= edges[-1])]
    if len(inside):
        axes.hist(inside, edges, density=True, histtype="step", color=COLOURS["extragradient"], label="generated")
    axes.legend(loc="upper right")
    return figure


def trajectory(
    paths: Mapping[str, tuple[Numbers, Numbers]],
    view: tuple[float, float, float, float],
    field: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None,
    solution: tuple[float, float] | None = None,
) -> Figure:
    """Draw the paths of several methods through a game of two numbers.

    Args:
        paths: label -> (x, y), the iterates of each player. The first word of a label is the method, whose colour is in
            ``COLOURS``; a second path of one method is dashed.
        view: the part of the plane that is shown (x_min, x_max, y_min, y_max).
        field: ``(x, y) -> (u, v)`` on arrays, the game's direction of descent, ``-F``, drawn as streamlines.
        solution: a point that is marked with a star.
    """
    arrays = {label: (_array(x).ravel(), _array(y).ravel()) for label, (x, y) in paths.items()}
    figure, axes = _figure(6.4, 5.2)
    axes.set_xlim(view[:2])
    axes.set_ylim(view[2:])
    if field is not None:
        _stream(axes, field)
    for (label, (x, y)), style in zip(arrays.items(), _styles(arrays), strict=True):
        marker = "o" if len(x) <= 60 else None
        axes.plot(x, y, linewidth=1.6, marker=marker, markersize=3, label=label, zorder=3, **style)
        axes.plot(x[0], y[0], "o", color="white", markeredgecolor="black", markersize=7, zorder=5)
    if solution is not None:
        axes.plot(
            *solution,
            "*",
            color=STAR,
            markeredgecolor="black",
            markersize=15,
            linestyle="none",
            zorder=6,
            label="solution",
        )
    axes.set_xlabel("x")
    axes.set_ylabel("y")
    figure.legend(loc="outside right center")
    return figure


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    xlabel: str,
    ylabel: str,
    logarithmic: str = "",
    references: Mapping[str, tuple[Numbers, Numbers]] | None = None,
) -> Figure:
    """Draw numbers over numbers, one line for each method.

    Args:
        lines: label -> (x, y); colours and dashes are as in :func:`trajectory`. Numbers that are not finite are left
            out, and on a logarithmic axis those that are not positive.
        xlabel: the label of the horizontal axis, with its unit.
        ylabel: the label of the vertical axis, with its unit.
        logarithmic: which axes are logarithmic: "", "x", "y" or "xy".
        references: further lines to compare with, drawn thin and grey.
    """
    figure, axes = _figure(6.4, 4.2)
    axes.set_aspect("auto")
    for x, y in (references or {}).values():
        axes.plot(_array(x), _array(y), color=GREY, linewidth=0.9, linestyle="--", zorder=2)
    for (label, (x, y)), style in zip(lines.items(), _styles(lines), strict=True):
        axes.plot(_array(x), _array(y), linewidth=1.6, label=label, zorder=3, **style)
    for label, (x, y) in (references or {}).items():
        axes.annotate(label, (_array(x)[0], _array(y)[0]), color=GREY, fontsize=8, ha="left", va="bottom")
    axes.set(xlabel=xlabel, ylabel=ylabel, **{f"{axis}scale": "log" for axis in logarithmic})
    figure.legend(loc="outside right center")
    return figure


@dataclass(frozen=True)
class Curve:
    """A mean with its standard error along a cost.

    Attributes:
        label: the name of the curve in the legend.
        method: the method, whose colour is in ``COLOURS``; further curves of one method are dashed.
        x: the costs, ascending.
        mean: the mean at each cost.
        error: half of the height of the band at each cost; NaN draws no band.
    """

    label: str
    method: str
    x: ArrayLike
    mean: ArrayLike
    error: ArrayLike


def comparison(
    panels: Mapping[str, Sequence[Curve]],
    unit: str,
    mark: float | None = None,
    verdicts: Mapping[str, str] | None = None,
) -> Figure:
    """Draw curves with bands, a panel for each quantity, with one legend for all panels.

    Args:
        panels: name of the quantity -> its curves. A quantity that is positive and spans more than a factor of 20 has
            a logarithmic axis.
        unit: the unit of the horizontal axis.
        mark: the place of a vertical line.
        verdicts: name of a quantity -> the label of its vertical axis, such as which values are better.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(panels), 3.8), dpi=100, layout="constrained")
    for position, (name, drawn) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), position)
        soften(axes)
        for curve, style in zip(drawn, _styles(curve.method for curve in drawn), strict=True):
            x, mean, error = map(_drawable, (curve.x, curve.mean, curve.error))
            marker = "o" if len(x) <= 30 else None
            axes.plot(x, mean, linewidth=1.6, marker=marker, markersize=3, label=curve.label, **style)
            axes.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
        means = np.concatenate([_drawable(curve.mean) for curve in drawn])
        means = means[np.isfinite(means)]
        if len(means) and means.min() > 0 and means.max() > 20 * means.min():
            axes.set_yscale("log")
        if mark is not None:
            axes.axvline(mark, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlabel(unit)
        axes.set_ylabel((verdicts or {}).get(name, ""))
        axes.set_title(name, fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


@dataclass(frozen=True)
class GridLine:
    """The means of a method at the places of a grid.

    Attributes:
        label: the name of the method in the legend.
        method: the method, whose colour is in ``COLOURS``; further lines of one method are dashed.
        x: the places, ascending.
        mean: the mean at each place; NaN for none.
        error: half of the height of the band at each place; NaN draws no band.
        diverged: the places at which runs diverged, each marked with a cross above the curves.
    """

    label: str
    method: str
    x: ArrayLike
    mean: ArrayLike
    error: ArrayLike
    diverged: Sequence[float] = ()


def grid(
    panels: Mapping[str, Sequence[GridLine]],
    key: str,
    log: bool,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
    verdicts: Mapping[str, str] | None = None,
) -> Figure:
    """Draw the means of several methods over a grid, such as of learning rates, a panel for each quantity.

    Args:
        panels: name of the quantity -> its lines.
        key: the label of the horizontal axis.
        log: whether the horizontal axis is logarithmic.
        names: the names of the places 0, 1, 2, ... if they are not numbers.
        threshold: the height of a horizontal line.
        verdicts: name of a quantity -> the label of its vertical axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(5.2 * len(panels) + 1.5, 3.9), dpi=100, layout="constrained")
    for position, (name, drawn) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), position)
        soften(axes)
        above = axes.get_xaxis_transform()
        marked = 0
        means = np.concatenate([_drawable(line.mean) for line in drawn])
        means = means[np.isfinite(means)]
        wide = len(means) > 0 and means.min() > 0 and means.max() > 20 * means.min()
        # A band has no end below zero on a logarithmic axis, which would lose its layout.
        lowest = means.min() / 2 if wide else -np.inf
        for line, style in zip(drawn, _styles(line.method for line in drawn), strict=True):
            x, mean, error = map(_drawable, (line.x, line.mean, line.error))
            axes.plot(x, mean, linewidth=1.6, marker="o", markersize=4, label=line.label, **style)
            low = np.maximum(mean - error, lowest)
            axes.fill_between(x, low, mean + error, color=style["color"], alpha=0.2, linewidth=0)
            if not line.diverged:
                continue
            heights = [1.03 + 0.04 * marked] * len(line.diverged)
            marked += 1
            axes.plot(
                *(line.diverged, heights),
                **{"marker": "x", "markersize": 5, "linestyle": "none", "color": style["color"]},
                transform=above,
                clip_on=False,
            )
        if wide:
            axes.set_yscale("log")
        if log:
            places = sorted({float(place) for line in drawn for place in np.asarray(line.x, dtype=float)})
            axes.set_xscale("log")
            axes.set_xticks(places[:: len(places) // 10 + 1], [f"{p:g}" for p in places[:: len(places) // 10 + 1]])
            axes.xaxis.set_minor_locator(NullLocator())
        if names is not None:
            axes.set_xticks(range(len(names)), names)
        axes.tick_params(axis="x", labelrotation=45 if log or names is not None else 0)
        if threshold is not None:
            axes.axhline(threshold, color=GREY, linewidth=0.9, linestyle=":")
        axes.set_xlabel(key)
        axes.set_ylabel((verdicts or {}).get(name, ""))
        axes.set_title(name + (", x: runs diverged" if marked else ""), fontsize=10, pad=6 + 11 * marked)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    return figure


@dataclass(frozen=True)
class Interval:
    """A difference with its confidence interval.

    Attributes:
        label: the name of the row.
        method: the method, whose colour is in ``COLOURS``.
        mean: the difference.
        low: the lower end of the interval; NaN draws none.
        high: the upper end of the interval.
    """

    label: str
    method: str
    mean: float
    low: float
    high: float


def forest(panels: Mapping[str, Sequence[Interval]], labels: Mapping[str, str]) -> Figure:
    """Draw differences with their intervals as rows beside a line at zero, a panel for each quantity.

    Args:
        panels: title -> the rows from top to bottom.
        labels: title -> the label of the horizontal axis.
    """
    from matplotlib.figure import Figure

    rows = max(map(len, panels.values()))
    figure = Figure(figsize=(6.4 * len(panels), 1.2 + 0.36 * rows), dpi=100, layout="constrained")
    for position, (title, drawn) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), position)
        soften(axes)
        axes.axvline(0, color=GREY, linewidth=0.9)
        for row, each in enumerate(drawn):
            colour = COLOURS.get(each.method, GREY)
            low, mean, high = _drawable([each.low, each.mean, each.high])
            axes.plot([low, high], [row, row], color=colour, linewidth=2)
            axes.plot(mean, row, "o", color=colour, markersize=6)
        axes.set_yticks(range(len(drawn)), [each.label for each in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlabel(labels[title])
        axes.set_title(title, fontsize=10)
    return figure


def spectrum(jacobian: np.ndarray, hessians: Mapping[str, np.ndarray]) -> Figure:
    """Draw the eigenvalues of a game's Jacobian in the complex plane, and those of each player's Hessian on a line.

    Args:
        jacobian: the complex eigenvalues of the Jacobian.
        hessians: for each player the real eigenvalues of its Hessian.
    """
    figure, axes = _figure(5.5, 4.5)
    axes.set_aspect("auto")
    axes.axhline(0, color=LIGHT_GREY, linewidth=0.8, zorder=1)
    axes.axvline(0, color=LIGHT_GREY, linewidth=0.8, zorder=1)
    colours = [COLOURS["extragradient"], *(c for name, c in COLOURS.items() if name != "extragradient")]
    height = max(float(np.abs(jacobian.imag).max(initial=0.0)), 1e-12)
    axes.scatter(jacobian.real, jacobian.imag, s=40, color=colours[0], zorder=3, label="Jacobian")
    for row, (name, values) in enumerate(hessians.items(), start=1):
        level = np.full(len(values), -height * (1 + 0.3 * row))
        colour = colours[row % len(colours)]
        axes.scatter(values, level, s=40, marker="|", color=colour, zorder=3, label=f"Hessian, {name}")
    axes.set_xlabel("real part")
    axes.set_ylabel("imaginary part")
    figure.legend(loc="outside upper center", ncols=1 + len(hessians), fontsize=8)
    return figure


def bars(series: Mapping[str, Numbers], quantity: str) -> Figure:
    """Draw a few lists of numbers as bars.

    Args:
        series: the numbers by name, ``(n,)``; entries of the same place stand beside one another.
        quantity: the name of the numbers.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(5.5, 3.5)
    axes.set_aspect("auto")
    colours = [COLOURS[name] for name in ("extragradient", "lookahead", "rapp", "gda", "optimistic")]
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        heights = _drawable(_array(values))
        places = np.arange(1, len(heights) + 1) + (i - (len(series) - 1) / 2) * width
        axes.bar(places, heights, width, color=colours[i % len(colours)], label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(quantity)
    axes.legend(fontsize=8)
    return figure


def _array(values: Numbers) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _drawable(values: ArrayLike) -> np.ndarray:
    """The values as numbers, with NaN for those that are too large for an axis."""
    numbers = np.asarray(values, dtype=float)
    return np.where(np.abs(numbers) < _LARGEST, numbers, np.nan)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="box")
    soften(axes)
    return figure, axes


def _scatter(axes: Axes, points: np.ndarray, **style: Any) -> None:
    axes.scatter(points[:, 0], points[:, 1], **style)


def soften(axes: Axes) -> None:
    """Draw the frame and the numbers of axes in grey, so that the data stand out."""
    axes.tick_params(colors=GREY, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(LIGHT_GREY)


def _styles(labels: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The colour and the dashes of each label: its first word is the method, whose further lines are dashed."""
    seen: Counter[str] = Counter()
    for label in labels:
        method = label.split()[0]
        yield {"color": COLOURS.get(method, GREY), "linestyle": ("-", "--", ":", "-.")[seen[method] % 4]}
        seen[method] += 1


def _frame(axes: Axes, points: np.ndarray, margin: float) -> None:
    """Choose the axes so that they show the points and a margin of ``margin`` times their extent."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = margin * max((high - low).max(), 1e-6)
    axes.set_xlim(low[0] - room, high[0] + room)
    axes.set_ylim(low[1] - room, high[1] + room)


def _stream(axes: Axes, field: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    limits = axes.get_xlim(), axes.get_ylim()
    x, y = np.meshgrid(*(np.linspace(low, high, 60) for low, high in limits))
    u, v = field(x, y)
    axes.streamplot(x, y, u, v, color=LIGHT_GREY, linewidth=0.7, arrowsize=0.8, density=0.9, zorder=1)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
