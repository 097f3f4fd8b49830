"""Eigenvalues of a matrix of which only products with vectors can be computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gantrain.utils.seeding import generator

# The number of vectors that ARPACK keeps. A matrix with at most so many rows is written out instead.
BASIS = 24

Product = Callable[[Tensor], Tensor]


def eigenvalues(
    product: Product,
    like: Tensor,
    count: int = 6,
    which: Literal["LM", "LI"] = "LM",
    restarts: int = 10,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Eigenvalues of a real square matrix by implicitly restarted Arnoldi iteration (ARPACK).

    Args:
        product: takes a vector to the matrix times the vector; the transpose has the same eigenvalues.
        like: ``(n,)``, a tensor of the vectors' shape, type and device.
        count: the number of eigenvalues.
        which: "LM" for those largest in modulus, "LI" for those whose imaginary part is largest in modulus.
        restarts: after so many restarts the eigenvalues that have converged are returned, perhaps none.
        tolerance: the residual relative to the eigenvalue.

    Returns:
        The eigenvalues, complex128, the largest first.
    """
    return _arpack(False, product, like, count, which, restarts, tolerance)


def extremes(product: Product, like: Tensor, count: int = 6, restarts: int = 10, tolerance: float = 1e-4) -> np.ndarray:
    """The largest and the smallest eigenvalues of a symmetric matrix, half of ``count`` each, ascending, float64.

    If ``count`` is odd, there is one more of the largest. The arguments are those of :func:`eigenvalues`.
    """
    return np.sort(_arpack(True, product, like, count, "BE", restarts, tolerance))


def largest_singular_value(product: Product, transposed: Product, like: Tensor, tolerance: float = 1e-2) -> float:
    """The spectral norm of a matrix, by Lanczos iteration on ``A^T A``; ``nan`` if that does not converge.

    The tolerance bounds the residual; the error of an eigenvalue of a symmetric matrix is of the order of its square.
    """
    squared = _arpack(True, lambda v: transposed(product(v)), like, 1, "LA", 8, tolerance, basis=8)
    return float(np.sqrt(max(squared[0], 0.0))) if len(squared) else float("nan")


def _arpack(
    symmetric: bool,
    product: Product,
    like: Tensor,
    count: int,
    which: str,
    restarts: int,
    tolerance: float,
    basis: int = BASIS,
) -> np.ndarray:
    # Takes a quarter of a second to import, and most runs are not diagnosed.
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh

    size = len(like)

    def apply(v: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(v.reshape(-1)).to(like)).double().cpu().numpy()

    if size <= BASIS:
        matrix = np.stack([apply(e) for e in np.eye(size)], axis=1)
        values = np.linalg.eigvalsh(matrix) if symmetric else np.linalg.eigvals(matrix).astype(complex)
        return _select(values, which, count)
    start = torch.randn(size, generator=generator(0, "arpack"), dtype=torch.float64).numpy()
    if not apply(start).any():  # ARPACK would take a zero product for a failure
        return np.zeros(count, float if symmetric else complex)
    count = min(count, size - 2)
    if which == "BE" and count == 1:  # ARPACK refuses to compute one eigenvalue of both ends
        which = "LA"
    matrix = LinearOperator((size, size), apply, dtype=np.float64)
    options = {"ncv": min(max(basis, 2 * count + 2), size), "v0": start, "tol": tolerance, "maxiter": restarts}
    try:
        values = (eigsh if symmetric else eigs)(matrix, count, which=which, return_eigenvectors=False, **options)
    except ArpackNoConvergence as error:
        values = error.eigenvalues
    return _select(values, which, count)


def _select(values: np.ndarray, which: str, count: int) -> np.ndarray:
    if which == "BE":
        values = np.sort(values)
        low = count // 2
        return values if len(values) <= count else np.concatenate([values[:low], values[len(values) - count + low :]])
    key = {"LM": -np.abs(values), "LI": -np.abs(values.imag), "LA": -values.real}[which]
    return values[np.lexsort((-values.imag, key))][:count]
