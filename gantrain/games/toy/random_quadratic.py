"""Random quadratic games of several players."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.games.toy.game import SolvedGame

if TYPE_CHECKING:
    from gantrain.config.types import Float, NonNegativeInt, PositiveFloat, PositiveInt


class RandomQuadratic(SolvedGame):
    """Players ``x1, x2, ...`` with ``F z = M z``, where M is random with prescribed constants.

    Player i minimises ``x_i' M_ii x_i / 2 + sum_j x_i' M_ij x_j`` with symmetric ``M_ii``. The least eigenvalue of
    ``(M + M') / 2`` is ``monotonicity``: ``<F z - F z', z - z'> >= monotonicity ||z - z'||^2``, which holds with
    equality for some z. The largest singular value of M is ``lipschitz``. The solution is 0.

    Args:
        players: the number of players.
        dimension: the number of coordinates of each player's strategy.
        lipschitz: the Lipschitz constant L, the largest singular value of M.
        monotonicity: the least eigenvalue of ``(M + M') / 2``. With a positive value the game is strongly monotone,
            with 0 merely monotone, with a negative value weakly monotone.
        seed: the seed of the matrix and of the starting point, which has length 1.

    Attributes:
        matrix: M, ``(n, n)`` with ``n = players * dimension``.
        rho: the cohypomonotonicity of F, the least eigenvalue of ``(M^-1 + M^-T) / 2``.

    Raises:
        UserError: there are fewer than two players, or ``|monotonicity| > lipschitz``.
    """

    def __init__(
        self,
        players: PositiveInt = 3,
        dimension: PositiveInt = 2,
        lipschitz: PositiveFloat = 1.0,
        monotonicity: Float = 0.1,
        seed: NonNegativeInt = 0,
    ):
        if players < 2:
            raise UserError(f"random_quadratic: players: expected at least 2, got {players}")
        if abs(monotonicity) > lipschitz:
            raise UserError(
                f"random_quadratic: monotonicity: expected at most lipschitz = {lipschitz:g} in size, "
                f"got {monotonicity:g}"
            )
        rng = np.random.default_rng(seed)
        n = players * dimension
        basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
        spectrum = rng.uniform(monotonicity, max(monotonicity, lipschitz / 2), size=n)
        spectrum[0] = monotonicity
        rotation = rng.normal(size=(n, n))
        owner = np.arange(n) // dimension
        rotation = (rotation - rotation.T) * (owner[:, None] != owner)
        self.matrix = torch.from_numpy(_with_norm((basis * spectrum) @ basis.T, rotation, lipschitz))
        inverse = torch.linalg.inv(self.matrix)
        self.rho = torch.linalg.eigvalsh((inverse + inverse.T) / 2)[0].item()
        start = rng.normal(size=n)
        parts = torch.from_numpy(start / np.linalg.norm(start)).split(dimension)
        strategies = {f"x{i + 1}": part for i, part in enumerate(parts)}
        super().__init__(self.field, strategies, [torch.zeros_like(part) for part in parts])

    def field(self, *strategies: Tensor) -> tuple[Tensor, ...]:
        """The field ``F``: each player's block of ``M z``."""
        return (self.matrix @ torch.cat(strategies)).split([len(s) for s in strategies])


def _with_norm(symmetric: np.ndarray, rotation: np.ndarray, norm: float) -> np.ndarray:
    """``symmetric + t rotation``, with the ``t >= 0`` for which its largest singular value is ``norm``.

    The largest singular value is a convex function of t, and an even one, because a transpose has the same singular
    values. It therefore never falls as ``t >= 0`` grows, and bisection finds t.
    """
    low, high = 0.0, 2 * norm / float(np.linalg.norm(rotation, 2))
    for _ in range(60):
        t = (low + high) / 2
        low, high = (t, high) if np.linalg.norm(symmetric + t * rotation, 2) < norm else (low, t)
    return symmetric + low * rotation
