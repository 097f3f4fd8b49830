"""Maps of the settings for which outer loops contract on the quadratic game, by iteration matrices and in runs."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from gantrain.analysis.guarantees import convergence_guaranteed
from gantrain.analysis.iteration_matrix import contraction
from gantrain.analysis.lookahead_criterion import poles_are_stable
from gantrain.config import merge
from gantrain.config.parts import Part, build, part_arguments, plain
from gantrain.config.schema import Axis, MapConfig
from gantrain.config.types import Order
from gantrain.errors import UserError
from gantrain.games.function import VectorField
from gantrain.outer import GDA, Lookahead, Outer
from gantrain.solver import solve


@dataclass(frozen=True)
class ConvergenceMap:
    """The contraction of one loop over a plane of settings; all arrays are ``(len(y), len(x))``.

    Attributes:
        label: the loop in a few words, of which the first is the method.
        exact: the spectral radius of the iteration matrix; of a random loop the rate of the mean square.
        measured: the contraction per outer step in a run.
        guaranteed: whether a theorem guarantees convergence; None if no theorem is known for the loop.
        laplace: for Lookahead over GDA, whether its differential equation is stable by the Laplace transform; None for
            other loops.
    """

    label: str
    exact: np.ndarray
    measured: np.ndarray
    guaranteed: np.ndarray | None
    laplace: np.ndarray | None


def convergence_map(config: MapConfig, index: int) -> ConvergenceMap:
    """Compute the map of the loop ``config.outers[index]``.

    Raises:
        UserError: the loop lacks the key of an axis, or a value is out of range.
    """
    plane = np.meshgrid(axis_values(config.x), axis_values(config.y))
    axes = dict(zip((config.x.key, config.y.key), plane, strict=True))
    if len(axes) < 2:
        raise UserError(f"y.key: {config.y.key} is on the other axis already")
    rho, gamma = (axes.pop(key, np.full(plane[0].shape, getattr(config, key))) for key in ("rho", "gamma"))
    if np.abs(rho).max() > 1 or gamma.min() <= 0:
        raise UserError("rho must lie between -1 and 1 (times 1/L) and gamma above 0, on the axes also")
    field = gamma[..., None, None] * quadratic(rho)
    exact, measured = np.empty(rho.shape), np.empty(rho.shape)
    guaranteed: np.ndarray | None = np.zeros(rho.shape, bool)
    laplace: np.ndarray | None = np.zeros(rho.shape, bool)
    for outer, where in _loops(config, index, axes, rho.shape):
        order = config.order or "simultaneous"
        exact[where] = contraction(outer, field[where], (1, 1), order)
        measured[where] = measured_rate(outer, field[where], order, config.steps)
        proven = convergence_guaranteed(outer, rho[where], gamma[where]) if _simultaneous(outer, order) else None
        if proven is None or guaranteed is None:
            guaranteed = None
        else:
            guaranteed[where] = proven
        if laplace is None or not _lookahead_over_gda(outer) or not _simultaneous(outer, order):
            laplace = None
        else:
            laplace[where] = poles_are_stable(field[where], outer.inner_steps, outer.relaxation)
    return ConvergenceMap(label(config.outers[index], axes), exact, measured, guaranteed, laplace)


def quadratic(rho: np.ndarray) -> np.ndarray:
    """The matrix of the quadratic game's field with ``L = 1``, ``(..., 2, 2)``: a rotation by ``arccos(rho)``."""
    b, a = rho, np.sqrt(1 - rho**2)
    return np.stack([np.stack([b, a], -1), np.stack([-a, b], -1)], -2)


def measured_rate(outer: Outer, scaled_field: np.ndarray, order: Order, steps: int) -> np.ndarray:
    """The geometric mean of the contraction per outer step, over the second half of a run, on many games at once.

    Args:
        outer: the loop, which is run over SGD.
        scaled_field: ``gamma M`` of each game, ``(k, 2, 2)``.
        order: the order of the players, "simultaneous" or "alternating".
        steps: the number of outer steps.

    Returns:
        The contraction of each game, ``(k,)``; infinite where the run left the range of float64.
    """
    m = torch.from_numpy(scaled_field)

    def field(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return m[:, 0, 0] * x + m[:, 0, 1] * y, m[:, 1, 0] * x + m[:, 1, 1] * y

    ones = torch.ones(len(m), dtype=torch.float64)
    path = solve(VectorField(field, {"x": ones, "y": ones / 2}), outer, {"name": "sgd", "lr": 1.0}, order, steps=steps)
    lengths = torch.hypot(path["x"], path["y"]).numpy()
    first, last = lengths[steps // 2], lengths[-1]
    with np.errstate(all="ignore"):
        rate = np.where(last == 0, 0.0, (last / first) ** (1 / (steps - steps // 2)))
    return np.where(np.isfinite(last), rate, np.inf)


def label(outer: Part, without: Container[str] = ()) -> str:
    """A loop in a few words: its method, and the settings that are not the defaults, except those in ``without``."""
    return " ".join([method(outer), *_settings(outer, without)])


def method(outer: Part) -> str:
    """The name of a method in pictures: the name of the loop, followed by that of its base unless the base is gda."""
    chosen_by = next(iter(type(outer).model_fields))
    name = getattr(outer, chosen_by).rpartition(":")[2]
    base = part_arguments(outer).get("base")
    inner = "gda" if base is None else base if isinstance(base, str) else method(base)
    return name if inner == "gda" else f"{name}_{inner}"


def _settings(outer: Part, without: Container[str], prefix: str = "") -> list[str]:
    settings = []
    for key, value in part_arguments(outer).items():
        if isinstance(value, Part):
            settings += _settings(value, without, f"{prefix}{key}.")
        elif prefix + key not in without and value != type(outer).model_fields[key].default:
            settings.append(f"{prefix}{key}={value:g}" if isinstance(value, float) else f"{prefix}{key}={value}")
    return settings


def axis_values(axis: Axis) -> np.ndarray:
    """The values along an axis, ``(axis.count,)``, evenly spaced."""
    return np.linspace(axis.low, axis.high, axis.count)


def _loops(
    config: MapConfig, index: int, axes: dict[str, np.ndarray], shape: tuple[int, ...]
) -> Iterator[tuple[Outer, np.ndarray]]:
    """The loop with each combination of the values on its axes, and the mask of the places on the map that have it."""
    for chosen in itertools.product(*(np.unique(values) for values in axes.values())):
        spec = plain(config.outers[index])
        where = np.ones(shape, bool)
        for (key, values), value in zip(axes.items(), chosen, strict=True):
            tree: Any = float(value)
            for name in reversed(key.split(".")):
                tree = {name: tree}
            spec = merge.merge(spec, tree)
            where &= values == value
        try:
            yield build("outer", spec), where
        except UserError as error:
            raise _of_axis(config, index, str(error)) from None


def _of_axis(config: MapConfig, index: int, error: str) -> UserError:
    """The error about a loop with a value on an axis, which names the key that says so where the axis is to blame."""
    key, _, what = error.removeprefix("outer.").partition(": ")
    for name, axis in (("x", config.x), ("y", config.y)):
        if f"{axis.key}.".startswith(f"{key}."):
            return UserError(f"{name}.key: {key} of outers.{index}, {method(config.outers[index])}: {what}")
    return UserError(error.replace("outer", f"outers.{index}", 1))


def _lookahead_over_gda(outer: Outer) -> TypeGuard[Lookahead]:
    return isinstance(outer, Lookahead) and isinstance(outer.base, GDA) and outer.base.critic_steps == 1


def _simultaneous(outer: Outer, order: Order) -> bool:
    while isinstance(outer, Lookahead):
        outer = outer.base
    return (getattr(outer, "order", None) or order) == "simultaneous"
