"""Draw how close SAM, SAMPa and OptSAM come with a fixed radius, beside what theory allows.

    python scripts/figures/descent.py [FOLDER] > scripts/bench/results/descent.txt

Each run has T steps of the size c / (L sqrt(T)). The first figure has the distance to the minimum of x^2/2, mostly in
three dimensions, the second the smallest gradient on a quadratic function with curvatures from 0.001 to L = 1. The
printed tables have the numbers of both.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from trajectories import chosen_folder, save

from gantrain.analysis.descent import gradient_bound
from gantrain.games import Minimize
from gantrain.plotting import figures
from gantrain.solver import solve

RHO, C = 0.5, 0.5
LENGTHS = (30, 100, 300, 1000, 3000)
ORACLES: dict[str, dict[str, Any]] = {
    "sam": {"name": "sam"},
    "sampa mix 0": {"name": "sampa", "mix": 0.0},
    "sampa mix 0.2": {"name": "sampa", "mix": 0.2},
    "optsam": {"name": "sam", "direction": "previous"},
}


def path(curvatures: Tensor, start: Tensor, oracle: str, rho: float, lr: float, steps: int) -> Tensor:
    """The iterates on ``f(x) = sum_i h_i x_i^2 / 2`` with the curvatures h, ``(steps + 1, n)``."""
    game = Minimize(lambda x: (curvatures * x * x).sum() / 2, start)
    return solve(game, "gda", {"name": "sgd", "lr": lr}, sharpness=ORACLES[oracle] | {"rho": rho}, steps=steps)["x"]


def distances() -> Figure:
    """Draw and print the distance to the minimum of ``x^2 / 2`` in three dimensions, over the last tenth of T steps."""
    # From a start whose entries are not short binary numbers: those stay on a line through the minimum, from which
    # rounding leads others away.
    start = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eta = torch.tensor([C / steps**0.5 for steps in LENGTHS])
    runs = [(oracle, oracle, start) for oracle in ORACLES] + [("optsam in 1 dimension", "optsam", start[:1])]
    columns = {}
    for label, oracle, x_0 in runs:
        found = []
        for steps, lr in zip(LENGTHS, eta.tolist(), strict=True):
            x = path(torch.ones_like(x_0), x_0, oracle, RHO, lr, steps)
            found.append(x[-(steps // 10) :].norm(dim=1).mean())
        columns[label] = torch.stack(found)
    table("distance / (eta rho)", {name: values / (eta * RHO) for name, values in columns.items()})
    table("distance / rho", {name: values / RHO for name, values in columns.items()})
    lines = {name: (LENGTHS, values) for name, values in columns.items()}
    references = {r"$\eta\rho$": (LENGTHS, eta * RHO)}
    return figures.curves(lines, "steps $T$", r"mean $\|x_t - x^*\|$, $t\geq 0.9\,T$", "xy", references)


def gradients() -> Figure:
    """Draw and print the smallest ``||grad f||^2`` of T steps of the size ``C / (L sqrt(T))`` over T."""
    curvatures = torch.logspace(-3, 0, 30, dtype=torch.float64)
    start = curvatures.pow(-0.5) / 30**0.5
    gap = float((curvatures * start * start).sum() / 2)
    lines, columns = {}, {}
    for oracle in ORACLES:
        smallest = []
        for steps in LENGTHS:
            x = path(curvatures, start, oracle, RHO, C / steps**0.5, steps)[:-1]
            smallest.append((curvatures * x).square().sum(1).min())
        columns[oracle] = lines[oracle] = LENGTHS, torch.stack(smallest)
    for oracle in ("sam", "sampa"):
        bounds = [gradient_bound(gap, C / steps**0.5, steps, RHO, 1.0, oracle)[-1] for steps in LENGTHS]
        columns[f"bound for {oracle}"] = LENGTHS, torch.stack(bounds)
    table("smallest ||grad f||^2", {name: values for name, (_, values) in columns.items()})
    references = {"bound": columns["bound for sampa"]}
    return figures.curves(lines, "steps $T$", r"$\min_{t<T}\ \|\nabla f(x_t)\|^2$", "xy", references)


def table(title: str, columns: dict[str, Tensor]) -> None:
    """Print numbers by steps."""
    print(f"{title:<24}" + "".join(f"{f'T = {steps}':>12}" for steps in LENGTHS))
    for name, values in columns.items():
        print(f"{name:<24}" + "".join(f"{value:>12.3g}" for value in values.tolist()))
    print()


if __name__ == "__main__":
    folder = chosen_folder(__doc__)
    print(f"$ python scripts/figures/descent.py\nrho = {RHO}, T steps of the size {C} / sqrt(T)\n")
    save(distances(), folder / "sharpness_distance.png")
    save(gradients(), folder / "sharpness_gradient.png")
