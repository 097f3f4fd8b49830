"""The advice that theory gives on a diagnosis, in plain words; theorems are told apart from rules of thumb."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gantrain.analysis.diagnosis import Diagnosis

# The share of rotation above which the antisymmetric part has more of ||J||_F^2 than the symmetric one.
HALF = math.sqrt(0.5)
# The rho above which RAPP converges, and Lookahead over two steps of GDA, in units of 1/L (Pethick et al., arXiv
# 2310.13459).
RAPP = -1 / 2
LA_GDA = -1 / (3 * math.sqrt(3))


@dataclass(frozen=True)
class Advice:
    """An outer loop that is advised, the reasons, and the evidence that would change the advice.

    Attributes:
        dominates: "rotation", "sharpness", or "undecided" if the batches disagree.
        outer: the outer loop, as a config has it.
        step: gamma, the step size of plain gradient steps under this loop; None if L could not be measured.
        why: the reasons, sentences each of which says what it rests on.
        changes: evidence that would change the advice.
    """

    dominates: str
    outer: Mapping[str, Any]
    step: float | None
    why: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The advice in plain words, as lines for a terminal."""
        keys = ", ".join(f"{key}: {_shown(value)}" for key, value in self.outer.items())
        step = "" if self.step is None else f", with gamma = {self.step:.3g} (the learning rate of plain sgd)"
        return [
            f"{self.dominates} dominates" if self.dominates != "undecided" else "neither rotation nor sharpness leads",
            f"try outer: {{{keys}}}{step}",
            *self.why,
            "What would change this:",
            *(f"- {change}" for change in self.changes),
        ]


def advise(diagnosis: Diagnosis) -> Advice:
    """The outer loop that the theory suggests for a diagnosis.

    The worst batch counts: the largest L and the smallest rho. The theorems need constants that hold everywhere; here
    they are applied to measurements about one point, which makes every conclusion a conjecture.
    """
    dominates = _dominant(diagnosis)
    largest, rho = diagnosis.lipschitz.most, diagnosis.rho.least
    product = rho * largest
    known = math.isfinite(product) and largest > 0
    sharpest = max(found.sharpness, key=lambda name: found.sharpness[name].mean)
    why = [_said(found, dominates)]
    if dominates == "sharpness" or not known:
        outer: dict[str, Any] = {"name": "gda", "order": "alternating" if len(found.hessians) > 1 else "simultaneous"}
        step = 1 / largest if known else None
        why.append(
            "rule of thumb: where the symmetric part leads, gradient steps contract without an outer loop; stretched "
            f"most is player {sharpest}: sam or sampa with rho {found.radius:g} on it is what flattens."
        )
        if known:
            why.append("theorem: gradient steps on an L-smooth objective, the others held, descend for gamma < 2/L.")
    elif product > LA_GDA:
        step = 1 / (math.sqrt(3) * largest)
        bound = rho / step + 1 / 3
        outer = {"name": "lookahead", "inner_steps": 2, "relaxation": _rounded(bound / 2), "base": "gda"}
        why.append(
            f"theorem: lookahead over gda with tau = 2 converges for rho > -1/(3 sqrt(3) L) = {LA_GDA / largest:.3g}, "
            f"at gamma = 1/(sqrt(3) L) for lambda < rho/gamma + 1/3 = {bound:.3g}; rho is {rho:.3g}. It costs two "
            "gradients a step, fewer than rapp."
        )
        why.append("rule of thumb: lambda is half of that bound.")
    elif product > RAPP:
        share = max(0.5, (1 - 2 * product) / 2)
        step = share / largest
        inner = math.ceil(math.log(0.1) / math.log(share))
        outer = {"name": "rapp", "inner_steps": inner, "relaxation": 0.5}
        why.append(
            f"theorem: rapp converges for rho > -1/(2L) = {RAPP / largest:.3g} with gamma between -2 rho and 1/L, "
            f"lambda in (0, 1) and enough inner steps; rho is {rho:.3g}, too low for lookahead over gda with tau = 2, "
            f"which needs {LA_GDA / largest:.3g}."
        )
        why.append("rule of thumb: gamma amid its range; tau makes (gamma L)^tau at most 0.1; lambda amid its range.")
    else:
        step = 1 / (2 * largest)
        outer = {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5, "base": "extragradient"}
        why.append(f"theorem: none applies: rho is {rho:.3g}, and rapp needs more than -1/(2L) = {RAPP / largest:.3g}.")
        why.append(
            "rule of thumb: lookahead over extragradient averages what turns; a penalty such as r1 adds curvature to "
            "the discriminator and raises rho."
        )
    why.append(
        "caution: L and rho are measured about one point, rho in the directions of the first gradients only, in "
        "evaluation mode; an optimizer such as adam rescales the directions, and gamma is not its learning rate."
    )
    return Advice(dominates, outer, step, tuple(why), tuple(_changes(found, known, largest)))


def _dominates(found: Diagnosis) -> str:
    if len(found.hessians) == 1 or not found.rotation.most >= HALF:
        return "sharpness"
    return "rotation" if found.rotation.least > HALF else "undecided"


def _said(found: Diagnosis, dominates: str) -> str:
    if len(found.hessians) == 1:
        return "measured: one player; the field is a gradient, and nothing turns."
    words = {"rotation": "more than", "sharpness": "less than", "undecided": "on some batches more than"}[dominates]
    return (
        f"measured: the antisymmetric part is {found.rotation.mean:.2f} of the Jacobian's Frobenius norm, {words} "
        f"{HALF:.2f}, where both parts are equal."
    )


def _changes(found: Diagnosis, known: bool, largest: float) -> list[str]:
    changes = []
    if len(found.hessians) > 1:
        changes.append(f"a share of rotation on the other side of {HALF:.2f}, at later checkpoints or on more batches")
    if known:
        changes.append(f"rho across {LA_GDA / largest:.3g} or {RAPP / largest:.3g}, on more or larger batches")
        for name, sample in (("L", found.lipschitz), ("rho", found.rho)):
            if sample.spread > abs(sample.mean) / 2:
                changes.append(f"{name} itself: it differs between batches by more than half of its mean")
    else:
        changes.append("L and rho, which could not be had here")
    changes.append("a run of it that is no better than plain gda at equal gradient evaluations")
    return changes


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
