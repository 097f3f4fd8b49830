"""The curves of a report: what the runs have logged over their cost, a picture for each quantity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from gantrain.commands.comparison.groups import Group
from gantrain.commands.comparison.metrics import direction, evaluated
from gantrain.commands.comparison.series import UNITS, Series
from gantrain.commands.report.plot import Line, is_drawable, svg
from gantrain.commands.report.reading import Reading

# A curve has at most so many points.
POINTS = 200
# A family of quantities has at most so many pictures.
_MOST = 12
_FAMILIES = {
    "loss/": "Losses",
    "score/": "Scores",
    "gradient_norm/": "Gradient norms",
    "game/": "Values of the game",
}
# What is told elsewhere, or is no measurement of the training.
_NOT_DRAWN = ("gradients/", "lr/", "schedule/", "advice/", "diagnose/")
_NOT_DRAWN_EITHER = ("kimg", "outer_steps", "images_per_second", "steps_per_second")


@dataclass(frozen=True)
class Panel:
    """The picture of a quantity.

    Attributes:
        name: the name of the quantity in the log.
        verdict: which values are better; empty where nobody says so.
        picture: the picture.
    """

    name: str
    verdict: str
    picture: Markup


@dataclass(frozen=True)
class Family:
    """Quantities of one kind.

    Attributes:
        title: the name of the kind.
        panels: the pictures.
        left_out: the names of quantities for which there was no room.
    """

    title: str
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...] = ()


def families(reading: Reading) -> list[Family]:
    """The curves of all groups, by kinds of quantities: how good the runs are comes first."""
    groups = [_thinned(group.group) for group in reading.groups]
    runs = [run for group in groups for run in group.runs]
    names = list(dict.fromkeys(name for run in runs for name in run.values if not _is_hidden(name)))
    quality = evaluated(names, runs)
    kinds: dict[str, list[str]] = {"Quality": quality, **{title: [] for title in _FAMILIES.values()}, "Others": []}
    for name in names:
        if name not in quality:
            title = next((title for prefix, title in _FAMILIES.items() if name.startswith(prefix)), "Others")
            kinds[title].append(name)
    found = []
    for title, members in kinds.items():
        panels = [panel for name in members[:_MOST] if (panel := _panel(name, groups, reading.at))]
        if panels:
            found.append(Family(title, tuple(panels), tuple(members[_MOST:])))
    return found


def is_thinned(reading: Reading) -> bool:
    """Whether a curve has more points than are drawn."""
    return any(len(costs) > POINTS for run in reading.runs for costs, _ in run.series.values.values())


def _panel(name: str, groups: Sequence[Group], at: str) -> Panel | None:
    lines = []
    for style, group in enumerate(groups):
        costs, estimates = group.curve(name, _end(group.runs, name))
        means = [estimate.mean for estimate in estimates]
        if is_drawable(means):
            lines.append(Line(group.label, style, costs.tolist(), means, [e.error for e in estimates]))
    if not lines:
        return None
    better = direction(name, groups)
    ends = "; ".join(f"{line.label} ends at {line.mean[-1]:.4g}" for line in lines)
    description = f"{name} over {UNITS[at]}: {ends}"
    return Panel(name, f"{better} is better" if better else "", svg(lines, UNITS[at], description))


def _end(runs: Iterable[Series], name: str) -> float:
    """The cost that all runs with the quantity have reached that did not diverge, or else those that did."""
    having = [run for run in runs if name in run.values]
    whole = [run for run in having if not run.diverged] or having
    return min((run.reached for run in whole), default=0.0)


def _thinned(group: Group) -> Group:
    """The group with means of successive values where a curve would have too many points."""
    runs = tuple(
        replace(run, values={name: (_means(costs), _means(values)) for name, (costs, values) in run.values.items()})
        for run in group.runs
    )
    return replace(group, runs=runs)


def _means(values: np.ndarray) -> np.ndarray:
    if len(values) <= POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, POINTS)])


def _is_hidden(name: str) -> bool:
    return name.startswith(_NOT_DRAWN) or name in _NOT_DRAWN_EITHER
