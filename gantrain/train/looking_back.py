"""The picture of a run's scalars, which is drawn when the run ends."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gantrain.plotting.history import Panel, history
from gantrain.plotting.images import figure_to_png
from gantrain.runs.better import read_better
from gantrain.runs.monitor import scalars_over_steps

CURVES = "curves.png"
# The panels of several scalars: the beginning of their names, and the title.
_GROUPS = {"loss/": "losses", "score/": "scores", "gradient_norm/": "gradient norms", "game/": "the game's scalars"}
# The most panels; a run with more of them has metrics of its own, which TensorBoard shows.
_MOST = 12


def draw_curves(folder: Path) -> None:
    """Draw the scalars of a run over its steps into ``curves.png``: what is better or worse, losses, scores, norms.

    Args:
        folder: the folder of the run. A run with fewer than two rows gets no picture.

    Raises:
        UserError: the log cannot be read, or the picture cannot be written.
    """
    better = read_better(folder)
    found = scalars_over_steps(folder, lambda name: name.startswith(tuple(_GROUPS)) or name in better)
    panels = _panels(found, better)[:_MOST]
    if panels:
        figure_to_png(history(panels), folder / CURVES)


def _panels(found: Mapping[str, tuple[array[float], array[float]]], better: Mapping[str, str]) -> list[Panel]:
    """The panels: one for each value by which runs are compared, whatever weights it was measured at, then the groups.

    Lines of a single point are left out.
    """
    lines = {name: (np.asarray(x), np.asarray(y)) for name, (x, y) in found.items() if len(x) > 1}
    panels = []
    for title in dict.fromkeys(name.partition("[")[0] for name in lines if name in better):
        drawn = {name: lines.pop(name) for name in list(lines) if name.partition("[")[0] == title}
        panels.append(Panel(title, drawn, better[next(name for name in drawn if name in better)]))
    for prefix, title in _GROUPS.items():
        drawn = {name.removeprefix(prefix): line for name, line in lines.items() if name.startswith(prefix)}
        if drawn:
            panels.append(Panel(title, drawn))
    return panels
