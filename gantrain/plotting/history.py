"""The figure of a run's scalars over its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gantrain.plotting.figures import COLOURS, GREY, soften

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = [COLOURS[name] for name in ("extragradient", "gda", "rapp", "optimistic", "lookahead", "ceg_plus")]
_COLUMNS = 3
# Lines of more points get a running mean over this share of them, and the points stay behind it, pale.
_NOISY, _WINDOW = 100, 1 / 40
# The most points of a line that are drawn, and the most lines of a panel that its legend names.
_MOST_POINTS, _MOST_NAMES = 2000, 8
# From this ratio of the largest value to the smallest on, an axis of positive values is logarithmic.
_WIDE = 30.0


@dataclass(frozen=True)
class Panel:
    """Scalars that are drawn together.

    Attributes:
        title: the title of the panel.
        lines: name -> (steps, values), each ``(n,)``. Values that are not finite leave gaps.
        better: the better direction, "lower" or "higher", whose best value is marked; empty if there is none.
    """

    title: str
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]]
    better: str = ""


def history(panels: list[Panel]) -> Figure:
    """Draw panels in rows of three, all over the same steps."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.0 * columns, 3.2 * rows), dpi=100, layout="constrained")
    last = max((steps[-1] for panel in panels for steps, _ in panel.lines.values() if len(steps)), default=1)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw(axes, panel)
        axes.set_xlim(0, max(last, 1))
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        if place > len(panels) - columns:
            axes.set_xlabel("training steps", fontsize=9)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    soften(axes)
    for place, (name, (steps, values)) in enumerate(panel.lines.items()):
        label = name if place < _MOST_NAMES else None
        colour = _COLOURS[place % len(_COLOURS)]
        dashes = ("-", "--", ":", "-.")[place // len(_COLOURS) % 4]
        noisy = len(values) > _NOISY
        stride = -(-len(values) // _MOST_POINTS)
        raw: dict[str, Any] = {"alpha": 0.25, "linewidth": 0.8}
        if not noisy:
            raw = {"linewidth": 1.6, "label": label, "linestyle": dashes}
        raw |= {"marker": "o", "markersize": 3} if len(values) <= 30 else {}
        axes.plot(steps[::stride], values[::stride], color=colour, **raw)
        if noisy:
            smooth = _running_mean(values, round(len(values) * _WINDOW))
            axes.plot(steps[::stride], smooth[::stride], color=colour, linewidth=1.6, linestyle=dashes, label=label)
    finite = np.concatenate([values[np.isfinite(values)] for _, values in panel.lines.values()])
    # Values of which higher ones are better are mostly shares, and a share near zero is not what matters.
    if panel.better != "higher" and len(finite) and finite.min() > 0 and finite.max() > _WIDE * finite.min():
        axes.set_yscale("log")
    best = _best(panel)
    words = "" if best is None else f"{panel.better} is better; best {best[1]:.4g} at step {best[0]}"
    if best is not None:
        axes.plot(*best, "o", markersize=7, markerfacecolor="none", markeredgecolor="black", zorder=5, clip_on=False)
    axes.set_title(panel.title, fontsize=11, loc="left", pad=16 if words else 6)
    axes.text(0, 1.02, words, transform=axes.transAxes, fontsize=8, color=GREY, va="bottom")
    if list(panel.lines) == [panel.title]:
        return
    more = len(panel.lines) - _MOST_NAMES
    title = f"and {more} more" if more > 0 else None
    axes.legend(fontsize=8, frameon=True, framealpha=0.7, edgecolor="none", title=title, title_fontsize=8)


def _best(panel: Panel) -> tuple[int, float] | None:
    if not panel.better:
        return None
    choose = np.nanargmin if panel.better == "lower" else np.nanargmax
    found = []
    for steps, values in panel.lines.values():
        if np.isfinite(values).any():
            place = int(choose(np.where(np.isfinite(values), values, np.nan)))
            found.append((int(steps[place]), float(values[place])))
    if not found:
        return None
    return (min if panel.better == "lower" else max)(found, key=lambda point: point[1])


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean over the last values up to each, of those that are finite."""
    finite = np.isfinite(values)
    sums = np.cumsum(np.where(finite, values, 0.0))
    counts = np.cumsum(finite)
    sums[window:] -= sums[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
