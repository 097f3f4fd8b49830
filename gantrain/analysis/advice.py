"""The advice that theory gives on a diagnosis, in plain words; theorems are told apart from rules of thumb."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gantrain.analysis.diagnosis import Diagnosis
from gantrain.analysis.lookahead_criterion import largest_relaxation

# The share of rotation above which the antisymmetric part has more of ||J||_F^2 than the symmetric one.
HALF = math.sqrt(0.5)
# The rho above which RAPP converges (by conic nonexpansiveness), and Lookahead over two steps of GDA, in units of 1/L
# (Pethick et al., arXiv 2310.13459).
RAPP = -1
LA_GDA = -1 / (3 * math.sqrt(3))


@dataclass(frozen=True)
class Advice:
    """An outer loop that is advised, the reasons, and the evidence that would change the advice.

    Attributes:
        dominates: "rotation", "sharpness", or "undecided" if the batches disagree.
        outer: the outer loop, as a config has it.
        step: gamma, the step size of plain gradient steps under this loop; None if L could not be measured.
        plain: three sentences for a reader who knows the game and not the theory: what the players do, what to try, and
            how far to trust that.
        why: the reasons, sentences each of which says what it rests on.
        changes: evidence that would change the advice.
    """

    dominates: str
    outer: Mapping[str, Any]
    step: float | None
    plain: tuple[str, str, str]
    why: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The advice and what it rests on, as lines for a terminal."""
        step = "" if self.step is None else f", with gamma = {self.step:.3g} (the learning rate of plain sgd)"
        return [
            f"{self.dominates} dominates" if self.dominates != "undecided" else "neither rotation nor sharpness leads",
            f"try {_as_config(self.outer)}{step}",
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
    step: float | None
    if dominates == "sharpness" or not known:
        outer, step, reasons = _gradient_steps(diagnosis, largest if known else None)
    elif product > LA_GDA:
        outer, step, reasons = _lookahead_over_gda(largest, rho)
    elif product > RAPP:
        outer, step, reasons = _rapp(largest, rho)
    else:
        outer, step, reasons = _beyond_theorems(largest, rho)
    caution = (
        "caution: L and rho are measured about one point, rho in the directions of the first gradients only, in "
        "evaluation mode; an optimizer such as adam rescales the directions, and gamma is not its learning rate."
    )
    why = (_measurement(diagnosis, dominates), *reasons, caution)
    plain = _behaviour(diagnosis, dominates), _attempt(diagnosis, dominates, outer), _trust(diagnosis)
    return Advice(dominates, outer, step, plain, why, tuple(_changes(diagnosis, known, largest)))


def _dominant(diagnosis: Diagnosis) -> str:
    if len(diagnosis.hessians) == 1 or not diagnosis.rotation.most >= HALF:
        return "sharpness"
    return "rotation" if diagnosis.rotation.least > HALF else "undecided"


def _behaviour(diagnosis: Diagnosis, dominates: str) -> str:
    """What the players do, for a reader who does not know the theory."""
    if len(diagnosis.hessians) == 1:
        return (
            "There is only one player, so this is ordinary training of a network: nobody answers its steps, and "
            "nothing can go round in circles."
        )
    return {
        "rotation": "The players mostly chase each other: what one gains by a step, the next step of another undoes, "
        "so that plain gradient steps go round in circles, or away in widening ones, rather than settle.",
        "sharpness": "Each player mostly goes downhill on its own loss, and the chase between the players matters "
        "less: plain gradient steps settle if the learning rate is small enough for the steepest direction.",
        "undecided": "On some batches the players mostly chase each other, and on others each mostly goes downhill on "
        "its own loss, so that these batches do not tell what would hold the training up.",
    }[dominates]


# What an outer loop that is advised does, for a reader who does not know the theory.
_DOES = {
    "lookahead": "it takes a few ordinary steps and then goes only a part of the way from where they began to where "
    "they led, which damps the circling",
    "rapp": "it takes a few inner steps that look for a point at which all players would agree, and then goes only a "
    "part of the way to it, which damps the circling",
}


def _attempt(diagnosis: Diagnosis, dominates: str, outer: Mapping[str, Any]) -> str:
    """What to try, for a reader who does not know the theory."""
    if outer["name"] in _DOES:
        return f"Try {_as_config(outer)}: {_DOES[outer['name']]}."
    flatter = f"sharpness: sam for the player {_sharpest(diagnosis)}, whose loss is the sharpest, is the first to try"
    if len(diagnosis.hessians) == 1:
        return f"An outer loop cannot help here; {flatter} if the network does well in training and badly on new data."
    return f"Stay with plain steps, {_as_config(outer)}, since an outer loop has little to damp here; {flatter}."


def _trust(diagnosis: Diagnosis) -> str:
    """How far to trust the advice, for a reader who does not know the theory."""
    count = len(diagnosis.lipschitz.values)
    unsteady = any(sample.spread > abs(sample.mean) / 2 for sample in (diagnosis.lipschitz, diagnosis.rho))
    seen = f"on {count} batches, which differ widely" if unsteady else f"on {count} batch{'es' * (count > 1)}"
    return (
        f"This is a look at one moment of the training, {seen}, and the theory behind it is about plain gradient "
        "steps, not adam: train with and without the change at equal gradient evaluations, and believe that comparison "
        "instead."
    )


def _measurement(diagnosis: Diagnosis, dominates: str) -> str:
    if len(diagnosis.hessians) == 1:
        return "measured: one player; the field is a gradient, and nothing turns."
    words = {"rotation": "more than", "sharpness": "less than", "undecided": "on some batches more than"}[dominates]
    return (
        f"measured: the antisymmetric part is {diagnosis.rotation.mean:.2f} of the Jacobian's Frobenius norm, {words} "
        f"{HALF:.2f}, where both parts are equal."
    )


def _gradient_steps(diagnosis: Diagnosis, largest: float | None) -> tuple[dict[str, Any], float | None, list[str]]:
    """Gradient steps with a sharpness-aware oracle; ``largest`` is L, None if it could not be measured."""
    outer = {"name": "gda", "order": "alternating" if len(diagnosis.hessians) > 1 else "simultaneous"}
    reasons = [
        "rule of thumb: where the symmetric part leads, gradient steps contract without an outer loop; player "
        f"{_sharpest(diagnosis)} has the sharpest objective, which sam or sampa with rho {diagnosis.radius:g} flattens."
    ]
    if largest is None:
        return outer, None, reasons
    reasons.append("theorem: gradient steps on an L-smooth objective, the others held, descend for gamma < 2/L.")
    return outer, 1 / largest, reasons


def _lookahead_over_gda(largest: float, rho: float) -> tuple[dict[str, Any], float, list[str]]:
    step = 1 / (math.sqrt(3) * largest)
    bound = rho / step + 1 / 3
    outer = {"name": "lookahead", "inner_steps": 2, "relaxation": _rounded(bound / 2), "base": "gda"}
    theorem = (
        f"theorem: lookahead over gda with tau = 2 converges for rho > -1/(3 sqrt(3) L) = {LA_GDA / largest:.3g}, "
        f"at gamma = 1/(sqrt(3) L) for lambda < rho/gamma + 1/3 = {bound:.3g}; rho is {rho:.3g}. It costs two "
        "gradients a step, fewer than rapp."
    )
    criterion = (
        "criterion: on bilinear games with small steps, lookahead over gda contracts for lambda < 1 - 1/tau by the "
        f"Laplace transform, which is {largest_relaxation(2):g} for tau = 2."
    )
    return outer, step, [theorem, criterion, "rule of thumb: lambda is half of the bound of the theorem."]


def _rapp(largest: float, rho: float) -> tuple[dict[str, Any], float, list[str]]:
    share = max(0.5, (1 - rho * largest) / 2)
    relaxation = 1 + rho * largest / share
    inner_steps = math.ceil(math.log(0.1 * relaxation) / math.log(share))
    outer = {"name": "rapp", "inner_steps": inner_steps, "relaxation": _rounded(relaxation)}
    theorem = (
        f"theorem: rapp converges for rho > -1/L = {RAPP / largest:.3g} with gamma between -rho and 1/L, "
        f"lambda in (0, 2 (1 + rho/gamma)) and enough inner steps; rho is {rho:.3g}, too low for lookahead over gda "
        f"with tau = 2, which needs {LA_GDA / largest:.3g}."
    )
    rule = (
        "rule of thumb: gamma and lambda lie in the middle of their ranges, and tau is so large that (gamma L)^tau is "
        "at most a tenth of 1 + rho/gamma."
    )
    return outer, share / largest, [theorem, rule]


def _beyond_theorems(largest: float, rho: float) -> tuple[dict[str, Any], float, list[str]]:
    outer = {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5, "base": "extragradient"}
    reasons = [
        f"theorem: none applies: rho is {rho:.3g}, and rapp needs more than -1/L = {RAPP / largest:.3g}.",
        "rule of thumb: lookahead over extragradient averages the rotation; a term that adds curvature to a player's "
        "objective, such as the penalty r1 of a GAN, raises rho.",
    ]
    return outer, 1 / (2 * largest), reasons


def _changes(diagnosis: Diagnosis, known: bool, largest: float) -> list[str]:
    """Evidence that would change the advice."""
    changes = []
    if len(diagnosis.hessians) > 1:
        changes.append(f"a share of rotation on the other side of {HALF:.2f}, at later checkpoints or on more batches")
    if known:
        changes.append(f"rho across {LA_GDA / largest:.3g} or {RAPP / largest:.3g}, on more or larger batches")
        for name, sample in (("L", diagnosis.lipschitz), ("rho", diagnosis.rho)):
            if sample.spread > abs(sample.mean) / 2:
                changes.append(f"{name} itself: it differs between batches by more than half of its mean")
    else:
        changes.append("L and rho, which could not be measured on these batches")
    changes.append("a run with the advised loop that is no better than plain gda at equal gradient evaluations")
    return changes


def _sharpest(diagnosis: Diagnosis) -> str:
    """The player with the sharpest objective."""
    return max(diagnosis.sharpness, key=lambda name: diagnosis.sharpness[name].mean)


def _as_config(outer: Mapping[str, Any]) -> str:
    """An outer loop as a config has it."""
    return f"outer: {{{', '.join(f'{key}: {_shown(value)}' for key, value in outer.items())}}}"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
