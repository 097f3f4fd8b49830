"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from gantrain.games.base import Gradient, Objective, Player
from gantrain.sharpness.arithmetic import add_multiple, length, orthogonal_unit
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.sharpness.directions import Direction, make_direction
from gantrain.sharpness.perturbation import Perturbation
from gantrain.utils.nested import Maybe

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, FractionBelowOne, NonNegativeFloat, PositiveFloat, PositiveInt
    from gantrain.gradients.context import GradientContext


class SAM(Oracle):
    """SAM: the gradient at a perturbed point, where the climbed function is approximately highest within a radius.

    ``eps = rho g / ||g||`` with the gradient ``g`` of the climbed function; the optimizer is given ``grad f(w + eps)``
    on the same batch. A move costs two gradients. Running statistics and spectral-norm vectors follow the first pass.
    Source: Foret et al., arXiv 2010.01412. With ``climb: tanh`` or ``climb: log`` the method is BiSAM, arXiv
    2407.12993; with ``geometry: elementwise`` it is ASAM, arXiv 2102.11600; with ``only: norm`` SAM-ON, arXiv
    2306.04226; with ``every`` above 1 LookSAM, arXiv 2203.02714; with ``other_batch: true`` SAM-db of the SAMPa paper,
    arXiv 2410.10683.

    The ``direction`` takes the place of ``g``, where ``t`` counts the player's moves:

    - "gradient": ``g`` itself, SAM.
    - "previous": the perturbed gradient of the move before, OptSAM of the SAMPa paper.
    - "random": standard normal numbers, RandSAM of the SAMPa paper.
    - "momentum": ``-v`` for the momentum ``v`` that the optimizer's last step left, MSAM, arXiv 2401.12033.
    - "smoothed": ``d_t = (1 - theta) d_{t-1} + theta g_t`` with ``d_0 = g_0``, VaSSO, arXiv 2309.15639.
    - "friendly": ``g_t - sigma m_t`` with ``m_t = decay m_{t-1} + (1 - decay) g_t`` and ``m_{-1} = 0``, F-SAM, arXiv
      2403.12350.

    The published code of F-SAM takes ``m_{t-1}`` in the place of ``m_t``, and begins with ``m_0 = g_0``: with sigma = 1
    the direction is the same, apart from what the beginning leaves in m.

    A move costs one gradient with "previous", "random" and "momentum". The first one has no perturbation with
    "previous" and "momentum".

    LookSAM takes SAM's gradient ``g_s`` at the training steps 0, k, 2k … only, and keeps the component ``g_v`` of
    ``g_s`` orthogonal to the plain gradient. At all other steps the optimizer is given ``g + reuse (||g|| / ||g_v||)
    g_v`` with the plain gradient ``g``: one gradient a move.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm; 0 gives the plain gradient.
        climb: the function that the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss with
            "tanh" or "log".
        mu: the inverse temperature of BiSAM's soft maximum over the classes.
        alpha: the slope at 0 of BiSAM's tanh; "log" does not use it.
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
        ascent: whether each process climbs its own gradient ("local": m-sharpness as in the SAM paper; with
            accumulation the gradient of each micro-batch), or all climb the mean of all gradients ("global").
            Directions that need no gradient at the current point are the same on all processes.
        direction: the direction of the perturbation: the "gradient" of the climbed function (SAM), the "previous"
            perturbed gradient (OptSAM), "random" (RandSAM), "momentum" (MSAM), "smoothed" (VaSSO), "friendly" (F-SAM).
        theta: the weight of the present gradient in a "smoothed" direction; 1 is SAM. Other directions do not use it.
        sigma: the share of the average gradient that a "friendly" direction leaves out; 0 is SAM. Others do not use it.
        decay: the share of that average that is kept at each move.
        only: the parameters that are perturbed: "norm" for the scales and shifts of normalisation layers (SAM-ON);
            all by default.
        every: the interval k, in training steps, at which SAM's gradient is taken; 1 takes it at every step.
        reuse: the length of the component ``g_v`` that is reused in between, in units of the gradient's norm. With
            ``every: 1`` it is not used.
        other_batch: whether the climbed gradient is taken on another batch, the draw after the current one (SAM-db).
            Directions that need no gradient at the current point do not use it. With ``every`` above 1 a move that
            perturbs then costs one gradient more, the plain one.
    """

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        climb: Literal["loss", "tanh", "log"] = "loss",
        mu: PositiveFloat = 10.0,
        alpha: PositiveFloat = 0.1,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "local",
        direction: Literal["gradient", "previous", "random", "momentum", "smoothed", "friendly"] = "gradient",
        theta: Fraction = 0.9,
        sigma: NonNegativeFloat = 1.0,
        decay: FractionBelowOne = 0.9,
        only: Literal["norm"] | None = None,
        every: PositiveInt = 1,
        reuse: NonNegativeFloat = 0.7,
        other_batch: bool = False,
    ):
        self.rho, self.climb, self.mu, self.alpha, self.geometry = rho, climb, mu, alpha, geometry
        self.ascent = ascent
        self.direction, self.theta, self.sigma, self.decay = direction, theta, sigma, decay
        self.only = only
        self.every, self.reuse = every, reuse
        self.other_batch = other_batch
        self.period = every
        self._past: Gradient | None = None  # what the direction needs of the moves before
        self._component: Gradient | None = None  # g_v / ||g_v||
        self._perturbs = True  # whether the present move does
        self._averaged: list[Gradient] = []  # the gradients at the current point, with ascent "global"

    @property
    def target(self) -> Callable[[Objective], Tensor]:
        """The function of the objective that the perturbation climbs."""
        return climbed(self.climb, self.mu, self.alpha)

    @property
    def perturbation(self) -> Perturbation:
        """The ascent step with the present radius."""
        return Perturbation(self.rho, self.geometry, self.only)

    @property
    def towards(self) -> Direction:
        """The direction of the ascent step with its present numbers."""
        return make_direction(self.direction, self.theta, self.sigma, self.decay)

    @property
    def local_ascent(self) -> bool:  # type: ignore[override]
        return self.towards.climbs and self.ascent == "local"

    def require(self, player: Player, optimizer: Optimizer) -> None:
        self.perturbation.require(player)
        self.towards.require(player, optimizer)

    def start(self, context: GradientContext) -> None:
        self._perturbs = context.step % self.every == 0
        self._averaged = []
        if self._perturbs and self.towards.climbs and self.ascent == "global":
            self._averaged = context.averaged(lambda: self._at_the_point(context))

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        if not self._perturbs:
            return [context.gradient()]
        needed: list[Gradient] = []
        with self.perturbation.applied(context, self._ascent(context, needed)):
            return [context.gradient(auxiliary=self.towards.climbs or self.every > 1), *needed]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        first, *at_the_point = gradients
        if not self._perturbs:
            if self._component is None:
                return first
            return add_multiple(first, self.reuse * length(first), self._component)
        at_the_point, self._averaged = at_the_point or self._averaged, []
        slope = at_the_point[0] if at_the_point else []
        self._past = self.towards.next_past(slope, first, self._past)
        if self.every > 1:
            self._component = orthogonal_unit(first, at_the_point[-1])
        return first

    def _ascent(self, context: GradientContext, needed: list[Gradient]) -> Gradient:
        """The direction of the perturbation.

        Args:
            context: the context of the evaluation.
            needed: gets those gradients at the current point that :meth:`combine` needs, to be averaged.
        """
        towards = self.towards
        point = self._averaged or self._at_the_point(context)
        later = point if towards.remembers else point[-1:] if self.every > 1 else []
        if not self._averaged:
            needed += later
        slope = point[0] if towards.climbs else towards.instead(context)
        direction = towards.of(slope, self._past)
        if context.last_micro_batch:
            # So that the memory is free for the gradient at the perturbed point. All or nothing is given up.
            if not towards.remembers:
                self._component = self._past = None
            self._averaged = later if self._averaged else []
        return direction

    def _at_the_point(self, context: GradientContext) -> list[Gradient]:
        """The gradients that a move needs at the current point: that of the climbed function, and the plain one.

        One that is not needed is left out, and if both are the same there is one.
        """
        climbing = [self.target] if self.towards.climbs else []
        if climbing and self.other_batch:
            slope = context.gradient(self.target, ahead=1)
            return [slope, context.gradient(auxiliary=True)] if self.every > 1 else [slope]
        same = bool(climbing) and self.climb == "loss"
        plain = [climbed("loss", self.mu, self.alpha)] if self.every > 1 and not same else []
        return context.gradients(*climbing, *plain) if climbing or plain else []

    def state_dict(self) -> dict[str, Any]:
        # The name is that of the first direction that had a state.
        return {"previous": self._past, "component": self._component}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._past = state["previous"]
        self._component = state.get("component")

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        gradient = Maybe([Maybe(p) for p in parameters])
        return {"previous": gradient, "component": gradient}
