"""The games for which a theorem guarantees that an outer loop converges.

``rho`` is the game's cohypomonotonicity and ``L`` its Lipschitz constant; the step size is gamma. A theorem's
guarantee holds for every such game, so a loop may converge on a particular game beyond the guarantee. The text of the
RAPP paper (arXiv 2310.13459) was not at hand: conditions that follow from its definitions by a short calculation are
given with that calculation. They are sufficient, and agree with the ranges that the paper states.
"""

from __future__ import annotations

import numpy as np

from gantrain.outer import GDA, RAPP, CEGPlus, Lookahead, Outer


def convergence_guaranteed(outer: Outer, rho: np.ndarray | float, gamma: np.ndarray | float) -> np.ndarray | None:
    """Where convergence is guaranteed for every game with these constants; moves are simultaneous.

    Args:
        outer: the loop.
        rho: values of ``rho L``.
        gamma: values of ``gamma L``.

    Returns:
        Booleans in the common shape of ``rho`` and ``gamma``; None if this module knows no theorem for the loop.

    The cases:

    - RAPP with three inner steps or more, as if they were many (arXiv 2310.13459, section 5): the exact resolvent of
      ``gamma F`` is nonexpansive if and only if ``rho >= -gamma / 2``, and the inner steps contract if
      ``gamma L < 1``; with ``lambda < 1``. So ``rho > -1/(2L)``.
    - EG+ and CEG+ (Pethick et al., ICLR 2022; tight at ``gamma = 1/L`` by its theorem 3.4): ``lambda < 1 + 2 rho /
      gamma``, ``gamma <= 1/L``. So ``rho > -(1 - lambda) / (2L)``, which is -1/(2L) only as lambda goes to 0.
    - Extragradient: EG+ with ``lambda = 1``, so ``rho > 0``; the limiting case ``rho = 0`` is Korpelevich's theorem.
    - GDA, also with a relaxation lambda, which is a smaller step size: ``lambda gamma < 2 rho`` (cocoercivity).
    - Lookahead over GDA, ``tau = 2``: ``z - lambda gamma (F z + F(z - gamma F z))`` is the average of GDA and EG+, and
      ``lambda gamma < rho + gamma (1 - gamma^2 L^2) / 2``. With the best step size ``gamma = 1 / (sqrt(3) L)`` and
      lambda near 0, ``rho > -1 / (3 sqrt(3) L)``.
    - Lookahead over a loop that is guaranteed itself, lambda < 1 and any tau: Krasnosel'skii-Mann (section 7 there).

    None of them allows critic steps.
    """
    rho, gamma = np.broadcast_arrays(np.asarray(rho, float), np.asarray(gamma, float))
    if _has_critic_steps(outer):
        return None
    if isinstance(outer, Lookahead):
        if isinstance(outer.base, GDA) and outer.inner_steps == 2:
            return outer.relaxation * gamma < rho + gamma * (1 - gamma**2) / 2
        base = convergence_guaranteed(outer.base, rho, gamma)
        return None if base is None else base & (outer.relaxation < 1)
    if isinstance(outer, GDA):
        return gamma < 2 * rho
    inner_steps = 2 if isinstance(outer, CEGPlus) and not outer.adaptive else getattr(outer, "inner_steps", None)
    if not isinstance(outer, RAPP | CEGPlus) or inner_steps is None:
        return None
    if inner_steps == 1:
        return outer.relaxation * gamma < 2 * rho
    if inner_steps == 2:
        korpelevich = (outer.relaxation == 1) & (rho == 0) & (gamma < 1)
        return ((gamma <= 1) & (outer.relaxation < 1 + 2 * rho / gamma)) | korpelevich
    return (gamma < 1) & (outer.relaxation < 1) & (rho > -gamma / 2)


def _has_critic_steps(outer: Outer) -> bool:
    while isinstance(outer, Lookahead):
        outer = outer.base
    return getattr(outer, "critic_steps", 1) > 1
