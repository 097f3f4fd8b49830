"""Draw the rate of RAPP's last iterate on a cohypomonotone game.

python scripts/figures/rates.py [FOLDER]
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from trajectories import chosen_folder, save

from gantrain.games import VectorField
from gantrain.plotting import figures
from gantrain.solver import solve

RHO, GAMMA = -0.3, 0.9


def rapp() -> Figure:
    """Draw ``||F z_k||^2`` on rotations of many speeds ``l <= L = 1``, each with cohypomonotonicity ``RHO``."""
    speed = torch.logspace(-2, 0, 30, dtype=torch.float64)
    b = RHO * speed**2
    a = torch.sqrt(speed**2 - b**2)
    start = torch.full_like(speed, 1 / np.sqrt(2 * len(speed)))
    game = VectorField(lambda x, y: (a * y + b * x, b * y - a * x), {"x": start, "y": start})
    lines, k = {}, np.arange(1, 301)
    for outer, label in (
        ({"name": "rapp", "inner_steps": 10, "relaxation": 0.5}, "rapp"),
        ({"name": "extragradient_plus", "relaxation": 0.2}, "extragradient_plus"),
        ("extragradient", "extragradient"),
    ):
        path = solve(game, outer, {"name": "sgd", "lr": GAMMA}, steps=len(k))
        values = (speed**2 * (path["x"] ** 2 + path["y"] ** 2)).sum(1)[1:]
        lines[label] = k, values.where(values < 3, torch.nan)
    return figures.curves(lines, "outer step $k$", r"$\|Fz_k\|^2$", "xy", {"$1/k$": (k, 0.4 / k)})


if __name__ == "__main__":
    folder = chosen_folder(__doc__)
    save(rapp(), folder / "rate_rapp.png")
