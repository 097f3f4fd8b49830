"""The outer loops as matrices: on a linear field ``F z = M z`` every loop is linear, and its matrix describes it fully.

The state of a loop is the joint iterate ``z`` (n numbers), and for ``optimistic`` the gradients remembered beneath it.
A loop converges from every start if and only if the spectral radius of its matrix is below 1, and that is then its
rate per outer step. All functions take stacks of matrices ``(..., n, n)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantrain.config.types import Order
from gantrain.errors import UserError
from gantrain.outer import GDA, RAPP, CEGPlus, Lookahead, Optimistic, Outer
from gantrain.outer.base import Mover


def iteration_matrix(
    outer: Outer, scaled_field: np.ndarray, sizes: Sequence[int] | None = None, order: Order = "simultaneous"
) -> np.ndarray:
    """The matrix of one outer step over SGD without momentum.

    Args:
        outer: the loop.
        scaled_field: ``gamma M``, ``(..., n, n)``.
        sizes: how many numbers each player's strategy has, in the order in which the players move; needed if they move
            in alternation, or the loop has critic steps.
        order: "simultaneous" or "alternating"; the loop's own order takes precedence.

    Returns:
        The matrix, ``(..., m, m)``; m is n, or 2 n for a loop that remembers a gradient.

    Raises:
        UserError: the loop is not linear, or is not one of the package; or the sizes are needed.
    """
    if isinstance(outer, Lookahead):
        return lookahead(iteration_matrix(outer.base, scaled_field, sizes, order), outer, scaled_field.shape[-1])
    if not isinstance(outer, Mover):
        raise UserError(f"outer: the iteration matrix of {type(outer).__name__} is not known")
    move = _Move(scaled_field, sizes, outer.order or order, outer.critic_steps)
    identity = move.identity
    if isinstance(outer, RAPP):
        return rapp(move, outer.inner_steps, outer.relaxation)
    if isinstance(outer, CEGPlus) and not outer.adaptive:
        return rapp(move, 2, outer.relaxation)  # without constraints it is EG+
    if isinstance(outer, GDA):
        return move(identity, identity)
    if isinstance(outer, Optimistic):
        return optimistic(move)
    raise UserError(f"outer: {type(outer).__name__} as configured is not linear, so that it has no iteration matrix")


def spectral_radius(matrix: np.ndarray) -> np.ndarray:
    """The largest modulus of the eigenvalues of each matrix, ``(...)``; infinite where an entry is not finite."""
    finite = np.isfinite(matrix).all(axis=(-2, -1))
    radius = np.abs(np.linalg.eigvals(np.where(finite[..., None, None], matrix, 0.0))).max(axis=-1)
    return np.where(finite, radius, np.inf)


class _Move:
    """One inner move of all players, ``anchor - gamma F(point)``, for matrices that act on the state.

    Args:
        scaled_field: ``gamma M``.
        sizes: the sizes of the players; may be None for simultaneous moves without critic steps.
        order: "simultaneous": the gradients of all who move are taken at one point; "alternating": each player sees the
            moves of those before it.
        critic_steps: the number of moves, of which the last player makes the last alone.

    Raises:
        UserError: the sizes are needed.
    """

    def __init__(self, scaled_field: np.ndarray, sizes: Sequence[int] | None, order: Order, critic_steps: int):
        if sizes is None and (order == "alternating" or critic_steps > 1):
            raise UserError("sizes: expected each player's number of entries, which alternation and critic steps need")
        self.field = scaled_field
        self.identity = np.broadcast_to(np.eye(scaled_field.shape[-1]), scaled_field.shape)
        ends = [int(end) for end in np.cumsum([0, *(sizes or [scaled_field.shape[-1]])])]
        players = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        critics, everyone = (
            (players[:-1], players) if order == "alternating" else ([slice(0, ends[-2])], [slice(0, ends[-1])])
        )
        # What is evaluated at one point, one after the other.
        self.blocks = [*critics * (critic_steps - 1), *everyone]

    def __call__(self, anchor: np.ndarray, point: np.ndarray) -> np.ndarray:
        return anchor - self.gradient(anchor, point)

    def gradient(self, anchor: np.ndarray, point: np.ndarray) -> np.ndarray:
        """``gamma F``, each player's part at the point at which its gradient is taken, and summed over its moves."""
        point, gradient = point.copy(), np.zeros_like(point)
        for block in self.blocks:
            gradient[..., block, :] += self.field[..., block, :] @ point
            point[..., block, :] = anchor[..., block, :] - gradient[..., block, :]
        return gradient


def rapp(move: _Move, inner_steps: int, relaxation: float) -> np.ndarray:
    """``w <- I - gamma M w``, ``inner_steps`` times from ``w = I``; then ``I + lambda (w - I)``.

    For simultaneous moves, ``w = sum_{t <= tau} (-gamma M)^t``, which is near ``(I + gamma M)^-1`` if
    ``gamma L < 1``. Extragradient, EG+ and, without constraints, CEG+ are the case of two inner steps.
    """
    w = move.identity
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(inner_steps):
            w = move(move.identity, w)
        return move.identity + relaxation * (w - move.identity)


def lookahead(base: np.ndarray, outer: Lookahead, n: int) -> np.ndarray:
    """``I + lambda (B^tau - I)`` for the base's matrix B; a gradient that the base remembers is not relaxed."""
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.linalg.matrix_power(base, outer.inner_steps)
        start = np.broadcast_to(np.eye(base.shape[-1]), base.shape)
        relaxed = start + outer.relaxation * (power - start)
    return np.concatenate([relaxed[..., :n, :], power[..., n:, :]], axis=-2)


def optimistic(move: _Move) -> np.ndarray:
    """``w = z - g;  g <- gamma M w;  z <- z - g`` on the state ``(z, g)``, with ``g`` the remembered ``gamma F w``.

    With critic steps, g has the sums of the gradients of each player's moves.
    """
    zero = np.zeros_like(move.field)
    z = np.concatenate([move.identity, zero], axis=-1)
    past = np.concatenate([zero, move.identity], axis=-1)
    gradient = move.gradient(z, z - past)
    return np.concatenate([z - gradient, gradient], axis=-2)
