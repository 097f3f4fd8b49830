"""The criterion for Lookahead's inner steps and relaxation by the Laplace transform.

On a mode of a linear game with ``gamma M = mu``, Lookahead over gradient descent ascent multiplies the iterate in each
outer step by ``1 + lambda ((1 - mu)^k - 1)``, with k inner steps. A path in continuous time with the same values is
``e^(s t)`` with ``e^s = 1 + lambda ((1 - mu)^k - 1)``. The high-resolution differential equation (HRDE) of order
``O(gamma^p)`` keeps the powers up to ``p + 1`` of s and of gamma on the two sides. Its Laplace transform has the poles

    ``sum_{i=1}^{p+1} s^i / i!  =  lambda sum_{j=1}^{p+1} binomial(k, j) (-mu)^j``,

and the criterion is that all of them have a negative real part (Sanyal and Chavdarova, arXiv 2506.13712, whose text was
not at hand: the equations are derived here from the method of its abstract). It approximates where the spectral radius
is below 1, for small ``k |mu|``; the radius itself is in :mod:`gantrain.analysis.iteration_matrix`. On bilinear games
with ``k |mu|`` up to about 0.6 the largest relaxation lies between those of order 2 (below) and order 1 (above).
"""

from __future__ import annotations

import math

import numpy as np


def largest_relaxation(inner_steps: int) -> float:
    """The relaxation below which Lookahead over GDA contracts on bilinear games, by the ``O(gamma)``-HRDE.

    There ``mu`` is imaginary, ``s + s^2 / 2 = -i b - a`` with ``b = lambda k |mu|``, ``a = lambda k (k - 1) |mu|^2 /
    2``, and the poles have negative real parts if and only if ``b^2 < 2 a``, for every step size: ``lambda < 1 - 1/k``.
    As the step size goes to 0, this is exact.

    Args:
        inner_steps: k.
    """
    return 1 - 1 / inner_steps


def poles_are_stable(scaled_field: np.ndarray, inner_steps: int, relaxation: float, order: int = 2) -> np.ndarray:
    """Whether all poles of the HRDE have negative real parts.

    Args:
        scaled_field: ``gamma M``, ``(..., n, n)``.
        inner_steps: k.
        relaxation: lambda.
        order: p; 2 by default, which is the ``O(gamma^2)``-HRDE.

    Returns:
        Booleans, ``(...)``.
    """
    modes = np.linalg.eigvals(scaled_field)
    driven = relaxation * sum(math.comb(inner_steps, j) * (-modes) ** j for j in range(1, order + 2))
    series = [1 / math.factorial(i) for i in range(order + 1, 0, -1)]
    # The companion matrix of the monic polynomial, whose eigenvalues are the poles.
    companion = np.zeros((*modes.shape, order + 1, order + 1), complex)
    companion[..., 0, :-1] = -np.array(series[1:]) / series[0]
    companion[..., 0, -1] = driven / series[0]
    companion[..., np.arange(1, order + 1), np.arange(order)] = 1
    growth: np.ndarray = np.linalg.eigvals(companion).real.max(axis=(-2, -1))
    return growth < 0
