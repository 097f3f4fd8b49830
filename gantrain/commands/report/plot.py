"""Curves as SVG: lines with bands, a picture of few kilobytes that is legible on a phone and in print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

# The size of a picture and its margins, in units of which a line of text takes 11.
WIDTH, HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 8, 36
# Distinct to the colour-blind (Okabe & Ito 2008). A line beyond the last colour has the first one again, with dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A4B08", "#000000")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")
# A curve of fewer points has a mark at each of them.
_MARKED = 40
# Values that no axis can show.
_LARGEST = 1e300


@dataclass(frozen=True)
class Line:
    """A mean with its band.

    Attributes:
        label: the name of the line.
        style: the number of its colour and dashes.
        x: the costs, ascending.
        mean: the mean at each cost.
        error: half of the height of the band at each cost; NaN draws no band.
    """

    label: str
    style: int
    x: Sequence[float]
    mean: Sequence[float]
    error: Sequence[float]


def colour(style: int) -> str:
    """The colour of a line."""
    return COLOURS[style % len(COLOURS)]


def dashes(style: int) -> str:
    """The dashes of a line as SVG has them; empty for an unbroken one."""
    return _DASHES[style // len(COLOURS) % len(_DASHES)]


def svg(lines: Sequence[Line], unit: str, description: str) -> Markup:
    """The lines over their cost, as an SVG element. A quantity over more than a factor of 20 has a logarithmic axis.

    Args:
        lines: the lines, of which at least one has a finite value.
        unit: the unit of the horizontal axis.
        description: what the picture shows, for those who cannot see it.
    """
    points = [point for line in lines for point in _points(line)]
    means = [mean for _, mean, _ in points]
    log = min(means) > 0 and max(means) > 20 * min(means)
    ends = [mean + sign * error for _, mean, error in points for sign in (-1, 1) if math.isfinite(error)]
    heights = means + [end for end in ends if not log or end >= min(means) / 2]
    x_of, x_ticks = _axis([x for x, _, _ in points], _LEFT, WIDTH - _RIGHT, log=False, start=0.0)
    y_of, y_ticks = _axis(heights, HEIGHT - _BOTTOM, _TOP, log)
    parts = [Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, description)]
    for value in y_ticks:
        y = f"{y_of(value):.1f}"
        parts.append(
            Markup('<path class="grid" d="M{} {}H{}"/><text class="y" x="{}" y="{}">{}</text>').format(
                _LEFT, y, WIDTH - _RIGHT, _LEFT - 5, y, f"{value:g}"
            )
        )
    short = EngFormatter(sep="")
    for value in x_ticks:
        text = short(value) if abs(value) >= 1000 else f"{value:g}"
        parts.append(Markup('<text class="x" x="{:.1f}" y="{}">{}</text>').format(x_of(value), HEIGHT - 21, text))
    parts.append(
        Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT)
        + Markup('<text class="x" x="{}" y="{}">{}</text>').format((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, unit)
    )
    lowest = y_of(min(heights))
    parts += [_line(line, x_of, lambda y: min(y_of(y), lowest) if y > 0 or not log else lowest) for line in lines]
    return Markup("").join([*parts, Markup("</svg>")])


def _points(line: Line) -> list[tuple[float, float, float]]:
    """The cost, the mean and the error of the points that can be drawn."""
    rows = zip(line.x, line.mean, line.error, strict=True)
    return [(float(x), float(y), float(e)) for x, y, e in rows if math.isfinite(y) and abs(y) < _LARGEST]


def _axis(
    values: Sequence[float], near: float, far: float, log: bool, start: float | None = None
) -> tuple[Callable[[float], float], list[float]]:
    """The place of a value between two ends of an axis, and the values at its ticks."""
    low, high = min(values), max(values)
    if start is not None:
        low = min(start, low)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)
    if start is None:
        room = 0.04
        low, high = (
            (low * (low / high) ** room, high * (high / low) ** room)
            if log
            else (low - room * (high - low), high + room * (high - low))
        )
    if log:
        first, span = math.log10(low), math.log10(high) - math.log10(low)
        steps = (1.0,) if span > 3 else (1.0, 2.0, 5.0) if span > 1 else (1.0, 2.0, 3.0, 5.0, 7.0)
        ticks = LogLocator(subs=steps, numticks=9).tick_values(low, high)
        place: Callable[[float], float] = lambda v: near + (far - near) * (math.log10(v) - first) / span  # noqa: E731
    else:
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        place = lambda v: near + (far - near) * (v - low) / (high - low)  # noqa: E731
    return place, [float(t) for t in ticks if low <= t <= high]


def _line(line: Line, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Markup:
    points = _points(line)
    if not points:
        return Markup("")
    banded = [p for p in points if math.isfinite(p[2])]
    parts = []
    if banded:
        above = [f"{x_of(x):.1f} {y_of(y + e):.1f}" for x, y, e in banded]
        below = [f"{x_of(x):.1f} {y_of(y - e):.1f}" for x, y, e in reversed(banded)]
        parts.append(Markup('<path fill="{}" fill-opacity=".18" d="M{}Z"/>').format(_c(line), "L".join(above + below)))
    path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y, _ in points)
    broken = Markup(' stroke-dasharray="{}"').format(dashes(line.style)) if dashes(line.style) else ""
    parts.append(Markup('<path class="line" stroke="{}"{} d="M{}"/>').format(_c(line), broken, path))
    for x, y, error in points if len(points) < _MARKED else ():
        band = f" ± {error:.2g}" if math.isfinite(error) else ""
        parts.append(
            Markup('<circle fill="{}" cx="{:.1f}" cy="{:.1f}" r="2.5"><title>{}</title></circle>').format(
                _c(line), x_of(x), y_of(y), f"{line.label}, {x:g}: {y:.4g}{band}"
            )
        )
    return Markup("").join(parts)


def _c(line: Line) -> str:
    return colour(line.style)


def is_drawable(values: Sequence[float]) -> bool:
    """Whether a curve has a value that an axis can show."""
    numbers = np.asarray(values, dtype=float)
    return bool((np.isfinite(numbers) & (np.abs(numbers) < _LARGEST)).any())
