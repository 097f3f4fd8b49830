"""The advice that theory gives on a diagnosis, in plain words; theorems are told apart from rules of thumb."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gantrain.analysis.diagnosis import Diagnosis, Sample
from gantrain.analysis.lookahead_criterion import largest_relaxation
from gantrain.analysis.method import Method

# The share of rotation above which the antisymmetric part has more of ||J||_F^2 than the symmetric one.
HALF = math.sqrt(0.5)
# The rho above which RAPP converges (by conic nonexpansiveness), and Lookahead over two steps of GDA, in units of 1/L
# (Pethick et al., arXiv 2310.13459).
RAPP = -1
LA_GDA = -1 / (3 * math.sqrt(3))
# One player's objective is the sharper one if it is so by more than so many standard errors over the batches, and by
# more than this share of itself: what the ascent finds is a lower bound of the sharpness.
_ERRORS, _SHARE = 2, 0.05


@dataclass(frozen=True)
class Advice:
    """An outer loop that is advised, the reasons, and the evidence that would change the advice.

    Attributes:
        dominates: "rotation", "sharpness", or "undecided" if the batches disagree.
        outer: the outer loop, as a config has it.
        has: whether the run has this loop already.
        step: gamma, the step size of plain gradient steps under this loop; None if L could not be measured.
        plain: three sentences for a reader who knows the game and not the theory: what the players do, what to try, and
            how far to trust that.
        why: the reasons, sentences each of which says what it rests on.
        changes: evidence that would change the advice.
    """

    dominates: str
    outer: Mapping[str, Any]
    has: bool
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
            f"{'keep' if self.has else 'try'} {_as_config(self.outer)}{step}",
            *self.why,
            "What would change this:",
            *(f"- {change}" for change in self.changes),
        ]


def advise(diagnosis: Diagnosis, method: Method | None = None) -> Advice:
    """The outer loop that the theory suggests for a diagnosis.

    Args:
        diagnosis: the diagnosis.
        method: how the run trains now; None (the default) if that is not known.

    The worst batch counts: the largest L and the smallest rho. The theorems need constants that hold everywhere; here
    they are applied to measurements about one point, which makes every conclusion a conjecture.
    """
    method = method or Method()
    dominates = _dominant(diagnosis)
    largest, rho = diagnosis.lipschitz.most, diagnosis.rho.least
    product = rho * largest
    known = math.isfinite(product) and largest > 0
    step: float | None
    if dominates == "sharpness" or not known:
        outer, step, reasons = _gradient_steps(diagnosis, method, largest if known else None)
    elif product > LA_GDA:
        outer, step, reasons = _lookahead_over_gda(largest, rho)
    elif product > RAPP:
        outer, step, reasons = _rapp(largest, rho)
    else:
        outer, step, reasons = _beyond_theorems(largest, rho)
    why = (_measurement(diagnosis, dominates), *reasons, _caution(method))
    plain = _behaviour(diagnosis, dominates), _attempt(diagnosis, method, outer), _trust(diagnosis, method)
    changes = _changes(diagnosis, method, outer, largest if known else None)
    return Advice(dominates, outer, method.has(outer), step, plain, why, tuple(changes))


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


def _attempt(diagnosis: Diagnosis, method: Method, outer: Mapping[str, Any]) -> str:
    """What to try, for a reader who does not know the theory."""
    place = f" in the place of {_as_config(method.beside(outer))}" if method.outer else ""
    if outer["name"] in _DOES:
        does = _DOES[outer["name"]]
        if method.has(outer):
            return f"Keep {_as_config(outer)}, which the run has: {does}."
        return f"Try {_as_config(outer)}{place}: {does}."
    flatter = _flatter(diagnosis, method)
    if len(diagnosis.hessians) == 1:
        plain = "" if method.has(outer) or not place else f", so that {_as_config(outer)} would do{place}"
        return f"An outer loop cannot help here{plain}; {flatter}."
    steps = "Stay with plain steps" if method.has(outer) else "Try plain steps"
    now = "" if method.has(outer) else place
    return f"{steps}, {_as_config(outer)}{now}, since an outer loop has little to damp here; {flatter}."


def _flatter(diagnosis: Diagnosis, method: Method) -> str:
    """What to try with sharpness-aware gradients, for a reader who does not know the theory."""
    player = _sharpest(diagnosis)
    if player is None:
        return "no player's loss is clearly the sharpest, so that none is the first to try sharpness: sam for"
    if player in method.oracles:
        return f"the player {player}, whose loss is the sharpest, has sharpness: {method.oracles[player]} already"
    if len(diagnosis.sharpness) == 1:
        return "sharpness: sam is to try if the network does well in training and badly on new data"
    return f"sharpness: sam for the player {player}, whose loss is the sharpest, is the first to try"


def _trust(diagnosis: Diagnosis, method: Method) -> str:
    """How far to trust the advice, for a reader who does not know the theory."""
    count = len(diagnosis.lipschitz.values)
    unsteady = any(sample.spread > abs(sample.mean) / 2 for sample in (diagnosis.lipschitz, diagnosis.rho))
    seen = f"on {count} batches, which differ widely" if unsteady else f"on {count} batch{'es' * (count > 1)}"
    optimizers = f", not {' or '.join(method.optimizers)}" if method.optimizers else ""
    return (
        f"This is a look at one moment of the training, {seen}, and the theory behind it is about plain gradient "
        f"steps{optimizers}: train with and without what is advised at equal gradient evaluations, and believe that "
        "comparison instead."
    )


def _caution(method: Method) -> str:
    about = (
        "caution: L and rho are measured about one point, rho in the directions of the first gradients only, in "
        "evaluation mode"
    )
    if not method.optimizers:
        return f"{about}."
    optimizers = " and ".join(method.optimizers)
    return f"{about}; the steps of {optimizers} are no plain ones, and gamma is no learning rate of theirs."


def _measurement(diagnosis: Diagnosis, dominates: str) -> str:
    if len(diagnosis.hessians) == 1:
        return "measured: one player; the field is a gradient, and nothing turns."
    words = {"rotation": "more than", "sharpness": "less than", "undecided": "on some batches more than"}[dominates]
    return (
        f"measured: the antisymmetric part is {diagnosis.rotation.mean:.2f} of the Jacobian's Frobenius norm, {words} "
        f"{HALF:.2f}, where both parts are equal."
    )


def _gradient_steps(
    diagnosis: Diagnosis, method: Method, largest: float | None
) -> tuple[dict[str, Any], float | None, list[str]]:
    """Gradient steps with a sharpness-aware oracle; ``largest`` is L, None if it could not be measured."""
    usual = "alternating" if len(diagnosis.hessians) > 1 else "simultaneous"
    outer = {"name": "gda", "order": method.outer.get("order", usual) if method.outer.get("name") == "gda" else usual}
    player = _sharpest(diagnosis)
    if player is None:
        sharpest = "no player's objective is clearly the sharpest"
    elif player in method.oracles:
        sharpest = f"player {player} has the sharpest objective, and {method.oracles[player]} already"
    else:
        sharpest = (
            f"player {player} has the sharpest objective, which sam or sampa with rho {diagnosis.radius:g} flattens"
        )
    contract = "where the symmetric part leads, gradient steps contract without an outer loop"
    reasons = [f"rule of thumb: {contract}; {sharpest}."]
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


def _changes(diagnosis: Diagnosis, method: Method, outer: Mapping[str, Any], largest: float | None) -> Iterator[str]:
    """Evidence that would change the advice; ``largest`` is L, None if it could not be measured."""
    if len(diagnosis.hessians) > 1:
        yield f"a share of rotation on the other side of {HALF:.2f}, at later checkpoints or on more batches"
    if largest is not None:
        yield f"rho across {LA_GDA / largest:.3g} or {RAPP / largest:.3g}, on more or larger batches"
        for name, sample in (("L", diagnosis.lipschitz), ("rho", diagnosis.rho)):
            if sample.spread > abs(sample.mean) / 2:
                yield f"{name} itself: it differs between batches by more than half of its mean"
    else:
        yield "L and rho, which could not be measured on these batches"
    if not method.has(outer) and method.outer:
        yield "a run with the advised loop that is no better than this one at equal gradient evaluations"
    elif outer["name"] == "gda":
        yield "a run with an outer loop that is better at equal gradient evaluations"
    else:
        yield "a run with plain gda that is as good at equal gradient evaluations"


def _sharpest(diagnosis: Diagnosis) -> str | None:
    """The player with the sharpest objective; None if the measurement does not tell it from another player's."""
    first, *others = sorted(diagnosis.sharpness.items(), key=lambda item: item[1].mean, reverse=True)
    return first[0] if all(_is_above(first[1], other) for _, other in others) else None


def _is_above(one: Sample, other: Sample) -> bool:
    """Whether a quantity is larger than another by more than the batches leave open; the batches are the same."""
    differences = np.subtract(one.values, other.values)
    error = differences.std(ddof=1) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return bool(differences.mean() > max(_ERRORS * error, _SHARE * abs(one.mean)))


def _as_config(outer: Mapping[str, Any]) -> str:
    """An outer loop as a config has it."""
    return f"outer: {{{', '.join(f'{key}: {_shown(value)}' for key, value in outer.items())}}}"


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
