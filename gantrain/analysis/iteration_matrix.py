"""The outer loops as matrices: on a linear field ``F z = M z`` every loop is linear, and its matrix describes it fully.

The state of a loop is the joint iterate ``z`` (n numbers), and for ``optimistic`` the gradients remembered beneath it.
A loop converges from every start if and only if the spectral radius of its matrix is below 1, and that is then its
rate per outer step. A loop that draws random numbers has a matrix for each draw; the second moments of its iterates
have one matrix, and contract by its spectral radius. All functions take stacks of matrices ``(..., n, n)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantrain.config.types import Order
from gantrain.errors import UserError
from gantrain.outer import GDA, RAMPAGE, RAPP, AnchoredExtragradient, CEGPlus, Lookahead, Optimistic, Outer
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
        UserError: the loop is not linear, is random, takes another step each time, or is not one of the package; or the
            sizes are needed.
    """
    if isinstance(outer, Lookahead):
        return lookahead(iteration_matrix(outer.base, scaled_field, sizes, order), outer, scaled_field.shape[-1])
    if isinstance(outer, AnchoredExtragradient):
        raise UserError(f"outer: {type(outer).__name__} takes another step each time, and has no iteration matrix")
    if not isinstance(outer, Mover):
        raise UserError(f"outer: the iteration matrix of {type(outer).__name__} is not known")
    move = _Move(scaled_field, sizes, outer.order or order, outer.critic_steps)
    identity = move.identity
    if isinstance(outer, RAPP):
        return rapp(move, outer.inner_steps, outer.relaxation)
    if isinstance(outer, RAMPAGE) and outer.antithetic:
        return rapp(move, 2, outer.relaxation)  # the mean of F at both points is F at the middle
    if isinstance(outer, CEGPlus) and not outer.adaptive:
        return rapp(move, 2, outer.relaxation)  # without constraints it is EG+
    if isinstance(outer, GDA):
        return move(identity, identity)
    if isinstance(outer, Optimistic):
        return optimistic(move)
    raise UserError(
        f"outer: {type(outer).__name__} as configured is not linear or is random, so that it has no iteration matrix"
    )


def second_moment_matrix(
    outer: Outer, scaled_field: np.ndarray, sizes: Sequence[int] | None = None, order: Order = "simultaneous"
) -> np.ndarray:
    """The matrix ``E[B kron B]`` of one outer step with the random iteration matrix B, over SGD without momentum.

    It takes ``E[z kron z]`` to that after the step. The square root of its spectral radius is the rate at which the
    root of the mean square of the iterates falls; a single run falls at least as fast.

    Args:
        outer: the loop; one that is not random has ``B kron B``.
        scaled_field: ``gamma M``, ``(..., n, n)``.
        sizes: as for :func:`iteration_matrix`.
        order: as for :func:`iteration_matrix`.

    Returns:
        The matrix, ``(..., m^2, m^2)``.

    Raises:
        UserError: the loop has no iteration matrix, also not one for each draw.
    """
    return _moments(outer, scaled_field, sizes, order)[1]


def contraction(
    outer: Outer, scaled_field: np.ndarray, sizes: Sequence[int] | None = None, order: Order = "simultaneous"
) -> np.ndarray:
    """The rate per outer step, ``(...)``: in the mean square, if the loop is random. Arguments as above."""
    if _random(outer):
        return np.sqrt(spectral_radius(second_moment_matrix(outer, scaled_field, sizes, order)))
    return spectral_radius(iteration_matrix(outer, scaled_field, sizes, order))


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


def _random(outer: Outer) -> bool:
    if isinstance(outer, Lookahead):
        return _random(outer.base)
    return isinstance(outer, RAMPAGE) and not outer.antithetic


def _moments(
    outer: Outer, field: np.ndarray, sizes: Sequence[int] | None, order: Order
) -> tuple[np.ndarray, np.ndarray]:
    """``E[B]`` and ``E[B kron B]``."""
    if not _random(outer):
        matrix = iteration_matrix(outer, field, sizes, order)
        return matrix, _kron(matrix, matrix)
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(outer, RAMPAGE):
            # B = I - lambda gamma M (I - 2 u gamma M), and 2 u - 1 has the mean 0 and the mean square 1/3.
            mean = rapp(_Move(field, None, "simultaneous", 1), 2, outer.relaxation)
            deviation = outer.relaxation * field @ field
            return mean, _kron(mean, mean) + _kron(deviation, deviation) / 3
        assert isinstance(outer, Lookahead)
        mean, second = _moments(outer.base, field, sizes, order)
        mean, second = (np.linalg.matrix_power(m, outer.inner_steps) for m in (mean, second))
        start, share = np.broadcast_to(np.eye(mean.shape[-1]), mean.shape), outer.relaxation
        mixed = _kron(start, mean) + _kron(mean, start)
        second = (1 - share) ** 2 * _kron(start, start) + share * (1 - share) * mixed + share**2 * second
        return start + share * (mean - start), second


def _kron(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    m = left.shape[-1]
    return np.einsum("...ij,...kl->...ikjl", left, right).reshape(*left.shape[:-2], m * m, m * m)
