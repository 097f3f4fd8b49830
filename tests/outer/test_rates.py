"""RAPP's last iterate on a cohypomonotone game: ``||F z_k||^2`` falls as 1/k, and no slower."""

from __future__ import annotations

import numpy as np
import torch

from gantrain.games import VectorField
from gantrain.solver import solve

GAMMA, RELAXATION, RHO = 0.9, 0.5, -0.3


def many_scales(rho, modes):
    """Rotations of all speeds ``l`` up to L = 1, each with cohypomonotonicity rho, and these speeds.

    A linear game converges linearly, but one of many speeds only after ``1 / l_min^2`` steps: until then there is
    always a mode for which ``l^2 (1 - c l^2)^k`` is about 1/k, its greatest value.
    """
    speed = torch.logspace(-2, 0, modes, dtype=torch.float64)
    b = rho * speed**2
    a = torch.sqrt(speed**2 - b**2)
    start = torch.full((modes,), 1 / np.sqrt(2 * modes), dtype=torch.float64)
    return VectorField(lambda x, y: (a * y + b * x, b * y - a * x), {"x": start, "y": start}), speed


def squared_field(inner_steps, steps):
    game, speed = many_scales(RHO, 30)
    outer = {"name": "rapp", "inner_steps": inner_steps, "relaxation": RELAXATION}
    path = solve(game, outer, {"name": "sgd", "lr": GAMMA}, steps=steps)
    return (speed**2 * (path["x"] ** 2 + path["y"] ** 2)).sum(1).numpy()


def slope(values, first):
    k = np.arange(first, len(values))
    return np.polyfit(np.log(k), np.log(values[first:]), 1)[0]


def test_the_last_iterate_of_rapp_falls_as_one_over_k():
    values = squared_field(inner_steps=10, steps=250)
    assert -1.15 < slope(values, 20) < -0.9
    # With the exact resolvent T, nonexpansive since rho >= -gamma / 2: lambda (1 - lambda) (k + 1) ||z_k - T z_k||^2
    # is at most the squared distance from the start, and ||F z|| <= (1 / gamma + L) ||z - T z||.
    k = np.arange(len(values))
    assert (values <= (1 / GAMMA + 1) ** 2 / (RELAXATION * (1 - RELAXATION) * (k + 1))).all()
    assert (np.diff(values) < 0).all()
