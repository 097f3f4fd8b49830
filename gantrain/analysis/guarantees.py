"""The games for which a theorem guarantees that an outer loop converges.

``rho`` is the game's cohypomonotonicity and ``L`` its Lipschitz constant; the step size is gamma. A theorem's
guarantee holds for every such game, so a loop may converge on a particular game beyond the guarantee. The text of the
RAPP paper (arXiv 2310.13459) was not at hand: conditions that follow from its definitions by a short calculation are
given with that calculation. They are sufficient, and agree with the ranges that the paper states.
"""

from __future__ import annotations

import numpy as np

from gantrain.outer import (
    GDA,
    RAPP,
    AnchoredExtragradient,
    CEGPlus,
    CorrectedProximalPoint,
    FastExtragradient,
    Lookahead,
    Outer,
)


def convergence_guaranteed(outer: Outer, rho: np.ndarray | float, gamma: np.ndarray | float) -> np.ndarray | None:
    """Where convergence is guaranteed for every game with these constants; moves are simultaneous.

    Args:
        outer: the loop. Its key ``comonotonicity``, if it has one, counts in units of 1/L.
        rho: values of ``rho L``.
        gamma: values of ``gamma L``.

    Returns:
        Booleans in the common shape of ``rho`` and ``gamma``; None if this module knows no theorem for the loop.

    The cases:

    - RAPP with three inner steps or more, as if they were many: with the exact resolvent J of ``gamma F``, the step
      ``v = z - J z`` satisfies ``<z - z*, v> >= (1 + rho / gamma) ||v||^2`` (J is conically nonexpansive), so that
      ``||z+ - z*||^2 <= ||z - z*||^2 - lambda (2 (1 + rho / gamma) - lambda) ||v||^2``; the inner steps contract if
      ``gamma L < 1``. So ``lambda < 2 (1 + rho / gamma)`` with ``gamma > -rho``, which is ``rho > -1/L`` (arXiv
      2310.13459 version 4, footnote 1; Alacaoglu, Kim and Wright 2024). Section 5 there needs J to be nonexpansive,
      ``rho >= -gamma / 2``, so ``rho > -1/(2L)``: only there may lambda be near 1.
    - The corrected proximal point, likewise as if its inner steps were many: ``gamma L < 1``, ``lambda < 2``, and
      ``-gamma < comonotonicity <= rho``.
    - EG+ and CEG+ (Pethick et al., ICLR 2022; tight at ``gamma = 1/L`` by its theorem 3.4): ``lambda < 1 + 2 rho /
      gamma``, ``gamma <= 1/L``. So ``rho > -(1 - lambda) / (2L)``, which is -1/(2L) only as lambda goes to 0.
    - Extragradient: EG+ with ``lambda = 1``, so ``rho > 0``; the limiting case ``rho = 0`` is Korpelevich's theorem.
    - GDA, also with a relaxation lambda, which is a smaller step size: ``lambda gamma < 2 rho`` (cocoercivity).
    - Lookahead over GDA, ``tau = 2``: ``z - lambda gamma (F z + F(z - gamma F z))`` is the average of GDA and EG+, and
      ``lambda gamma < rho + gamma (1 - gamma^2 L^2) / 2``. With the best step size ``gamma = 1 / (sqrt(3) L)`` and
      lambda near 0, ``rho > -1 / (3 sqrt(3) L)``.
    - Anchored extragradient: ``rho >= 0``, ``gamma <= 1/(8L)`` (EAG-C, arXiv 2102.07922). Fast extragradient:
      ``gamma <= 1/L``, ``-gamma / 2 < comonotonicity <= rho`` (arXiv 2106.02326, lemma 7.1 and theorem 4.1).
    - Lookahead over RAPP, EG+, CEG+, GDA or Lookahead that is guaranteed itself, lambda < 1 and any tau:
      Krasnosel'skii-Mann (arXiv 2310.13459, section 7).

    None of them allows critic steps.
    """
    rho, gamma = np.broadcast_arrays(np.asarray(rho, float), np.asarray(gamma, float))
    if _has_critic_steps(outer):
        return None
    if isinstance(outer, Lookahead):
        if isinstance(outer.base, GDA) and outer.inner_steps == 2:
            return outer.relaxation * gamma < rho + gamma * (1 - gamma**2) / 2
        if not isinstance(outer.base, GDA | RAPP | CEGPlus | Lookahead):
            return None
        base = convergence_guaranteed(outer.base, rho, gamma)
        return None if base is None else base & (outer.relaxation < 1)
    if isinstance(outer, GDA):
        return gamma < 2 * rho
    if isinstance(outer, FastExtragradient):
        return (gamma <= 1) & (outer.comonotonicity <= rho) & (outer.comonotonicity > -gamma / 2)
    if isinstance(outer, AnchoredExtragradient):
        return (gamma <= 1 / 8) & (rho >= 0)
    if isinstance(outer, CorrectedProximalPoint):
        exact = outer.inner_steps >= 3 and outer.relaxation < 2
        return exact & (gamma < 1) & (outer.comonotonicity <= rho) & (outer.comonotonicity > -gamma)
    inner_steps = 2 if isinstance(outer, CEGPlus) and not outer.adaptive else getattr(outer, "inner_steps", None)
    if not isinstance(outer, RAPP | CEGPlus) or inner_steps is None:
        return None
    if inner_steps == 1:
        return outer.relaxation * gamma < 2 * rho
    if inner_steps == 2:
        korpelevich = (outer.relaxation == 1) & (rho == 0) & (gamma < 1)
        return ((gamma <= 1) & (outer.relaxation < 1 + 2 * rho / gamma)) | korpelevich
    return (gamma < 1) & (outer.relaxation < 2 * (1 + rho / gamma))


def _has_critic_steps(outer: Outer) -> bool:
    while isinstance(outer, Lookahead):
        outer = outer.base
    return getattr(outer, "critic_steps", 1) > 1
