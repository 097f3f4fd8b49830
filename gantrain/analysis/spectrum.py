"""Eigenvalues of what is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs, eigsh
from torch import Tensor

from gantrain.utils.seeding import generator

# Vectors that ARPACK keeps; a matrix with no more rows than that is written out instead.
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
        product: a vector to the matrix times it; with the transpose the eigenvalues are the same.
        like: ``(n,)``, a tensor such as the vectors are.
        count: how many.
        which: "LM": largest in modulus; "LI": in modulus of the imaginary part.
        restarts: after so many, the ones that have converged are returned, perhaps none.
        tolerance: residual relative to the eigenvalue.

    Returns:
        complex128, in that order.
    """
    return _arpack(eigs, product, like, count, which, restarts, tolerance)


def extremes(product: Product, like: Tensor, count: int = 6, restarts: int = 10, tolerance: float = 1e-4) -> np.ndarray:
    """The largest and the smallest eigenvalues of a symmetric matrix, half of ``count`` each, ascending, float64.

    Of an odd number, one more of the largest.

    The arguments are those of :func:`eigenvalues`.
    """
    return np.sort(_arpack(eigsh, product, like, count, "BE", restarts, tolerance))


def largest_singular_value(product: Product, transposed: Product, like: Tensor, tolerance: float = 1e-2) -> float:
    """The spectral norm of a matrix, by Lanczos iteration on ``A^T A``; ``nan`` if that does not converge.

    The tolerance is of the residual; the error of a symmetric matrix' eigenvalue is of the order of its square.
    """
    found = _arpack(eigsh, lambda v: transposed(product(v)), like, 1, "LA", 8, tolerance, basis=8)
    return float(np.sqrt(max(found[0], 0.0))) if len(found) else float("nan")


def _arpack(
    solver: Callable,
    product: Product,
    like: Tensor,
    count: int,
    which: str,
    restarts: int,
    tolerance: float,
    basis: int = BASIS,
) -> np.ndarray:
    size = len(like)

    def apply(v: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(v.reshape(-1)).to(like)).double().cpu().numpy()

    if size <= BASIS:
        matrix = np.stack([apply(e) for e in np.eye(size)], axis=1)
        values = np.linalg.eigvals(matrix).astype(complex) if solver is eigs else np.linalg.eigvalsh(matrix)
        return _chosen(values, which, count)
    start = torch.randn(size, generator=generator(0, "arpack"), dtype=torch.float64).numpy()
    if not apply(start).any():  # ARPACK takes a zero product for a failure
        return np.zeros(count, complex if solver is eigs else float)
    count = min(count, size - 2)
    if which == "BE" and count == 1:  # one of both ends is refused
        which = "LA"
    matrix = LinearOperator((size, size), apply, dtype=np.float64)
    options = {"ncv": min(max(basis, 2 * count + 2), size), "v0": start, "tol": tolerance, "maxiter": restarts}
    try:
        values = solver(matrix, count, which=which, return_eigenvectors=False, **options)
    except ArpackNoConvergence as error:
        values = error.eigenvalues
    return _chosen(values, which, count)


def _chosen(values: np.ndarray, which: str, count: int) -> np.ndarray:
    if which == "BE":
        values = np.sort(values)
        low = count // 2
        return values if len(values) <= count else np.concatenate([values[:low], values[len(values) - count + low :]])
    key = {"LM": -np.abs(values), "LI": -np.abs(values.imag), "LA": -values.real}[which]
    return values[np.lexsort((-values.imag, key))][:count]
