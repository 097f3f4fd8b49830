"""SAMPa: a form of SAM whose two gradients do not wait for each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.games.base import Gradient, Objective, Player
from gantrain.sharpness.arithmetic import combination, cosine, length
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.sharpness.directions import Direction, make_direction
from gantrain.sharpness.perturbation import Perturbation
from gantrain.utils.nested import Maybe
from gantrain.utils.optimizer_groups import options_kept
from gantrain.utils.tensors import copied_gradient, copy_, preserve, set_gradient, snapshot

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeFloat, PositiveFloat
    from gantrain.gradients.context import GradientContext


class SAMPa(Oracle):
    """SAMPa: the perturbation comes from the gradient at a predicted point, so that SAM's two gradients can be computed
    at the same time.

    ``x~_t = x_t + rho grad f(y_t; xi_t) / ||.||``. The predicted point ``y_{t+1}`` is the point to which the player's
    optimizer would go from ``x_t`` along ``grad f(y_t; xi_t)``, with its momentum and weight decay; the optimizer's
    state stays unchanged. The optimizer is given ``(1 - mix) grad f(x~_t; xi_t) + mix grad f(y_{t+1}; xi_{t+1})``. The
    first prediction is ``y_0 = x_0``.

    The batch ``xi_{t+1}`` is the draw after the current one. This is the batch of the player's next move, unless the
    loop has critic steps or takes the same samples again. Running statistics and spectral-norm vectors follow the pass
    at ``y_{t+1}``. A move costs two gradients, and the first move one more; a climb other than the loss needs no
    further forward pass, since it is differentiated in the pass at ``y_{t+1}``. Source: Sharpness-Aware Minimization
    Parallelized, arXiv 2410.10683. The published code falls back to SGD if mix = 0; this class does not.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm.
        mix: the weight of the gradient at the predicted point (the paper's lambda); the paper recommends 0.2.
        climb: the function that the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss with
            "tanh" or "log".
        mu: the inverse temperature of BiSAM's soft maximum over the classes.
        alpha: the slope at 0 of BiSAM's tanh; "log" does not use it.
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
        ascent: whether all processes climb the mean of all gradients ("global"; no further cost), or each process
            climbs its own gradient ("local": m-sharpness; with accumulation the gradient of each micro-batch, all of
            which are kept in memory). Checkpoints do not hold local gradients: the first move of a resumed run climbs
            the global gradient.
        parallel: whether one half of the processes takes the gradient at ``x~_t`` while the other half takes the
            gradient at ``y_{t+1}``: "on", "off", or "auto" for on if the number of processes is even. Each half shares
            the whole batch, so that 2 N processes take a step in about half the time of N processes. The ascent is then
            global.
        cosine: whether it is logged how the gradient at the predicted point differs from the one that SAM would climb.
            ``cosine/PLAYER`` is the cosine between ``g = grad f(x_t; xi_t)`` and ``h = grad f(y_t; xi_t)``, which the
            method assumes to be near 1, and ``gradient_distance/PLAYER`` is ``||g - h|| / ||g||``. They cost one
            gradient at each logged step, which is not counted.
        direction: the direction of the perturbation: the "gradient" at ``y_t`` of the climbed function, or "smoothed"
            as in VaSSO (arXiv 2309.15639): ``d_t = (1 - theta) d_{t-1} + theta g_t`` with this gradient as ``g_t``,
            and ``d_0 = g_0``. The prediction stays as it is.
        theta: the weight of the present gradient in a "smoothed" direction; 1 is SAMPa.
        only: the parameters that are perturbed: "norm" for the scales and shifts of normalisation layers (SAM-ON,
            arXiv 2306.04226); all by default.
    """

    parts = 2

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        mix: Fraction = 0.2,
        climb: Literal["loss", "tanh", "log"] = "loss",
        mu: PositiveFloat = 10.0,
        alpha: PositiveFloat = 0.1,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "global",
        parallel: Literal["auto", "on", "off"] = "auto",
        cosine: bool = False,
        direction: Literal["gradient", "smoothed"] = "gradient",
        theta: Fraction = 0.9,
        only: Literal["norm"] | None = None,
    ):
        self.rho, self.mix, self.climb, self.mu, self.alpha, self.geometry = rho, mix, climb, mu, alpha, geometry
        self.ascent = ascent
        self.parallel = parallel
        self.cosine = cosine
        self.direction, self.theta = direction, theta
        self.only = only
        self.slope: Gradient | None = None  # grad f(y_t; xi_t), averaged over the processes
        self.ascent_direction: Gradient | None = None  # of the gradients at y_t of the climbed function, likewise
        self.local: dict[int, Gradient] = {}  # this direction on each micro-batch, with ascent "local"
        self._next_local: dict[int, Gradient] = {}  # the gradients there, of which the next direction is made
        self._past: Gradient | None = None  # the present direction, for the next one, if it remembers this one

    @property
    def targets(self) -> list[Callable[[Objective], Tensor]]:
        """The loss, and the function that the perturbation climbs where that is another."""
        other = [] if self.climb == "loss" else [climbed(self.climb, self.mu, self.alpha)]
        return [climbed("loss", self.mu, self.alpha), *other]

    @property
    def perturbation(self) -> Perturbation:
        """The ascent step with the present radius."""
        return Perturbation(self.rho, self.geometry, self.only)

    @property
    def towards(self) -> Direction:
        """The direction of the ascent step with its present numbers."""
        return make_direction(self.direction, self.theta)

    @property
    def local_ascent(self) -> bool:  # type: ignore[override]
        return self.ascent == "local"

    def require(self, player: Player, optimizer: Optimizer) -> None:
        self.perturbation.require(player)

    def start(self, context: GradientContext) -> None:
        if self.slope is None:
            self._past = None
            self._predict(context.averaged(lambda: self._gradients(context, ahead=0)))
        slope, direction = self._at_prediction()
        self._past = direction if self.towards.remembers else None
        if self.cosine and context.observing:
            (plain,) = context.averaged(lambda: [context.gradient(auxiliary=True, counted=False)])
            size, distance = length(plain), length(combination(1.0, plain, -1.0, slope))
            context.observe("cosine", cosine(plain, slope))
            context.observe("gradient_distance", torch.where(size > 0, distance / size, 0.0))

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        if part == 0:
            direction = self._at_prediction()[1]
            with self.perturbation.applied(context, self.local.get(context.micro_batch, direction)):
                return [context.gradient(auxiliary=True)]
        with predicted(context, self._given_up(context)):
            return self._gradients(context, ahead=1)

    def expected(self, part: int) -> list[Gradient]:
        slope, direction = self._at_prediction()
        return [slope] if part == 0 else [slope, direction][: len(self.targets)]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        perturbed, *at_prediction = gradients
        self._predict(at_prediction)
        return _mixed(perturbed, at_prediction[0], self.mix)

    def _predict(self, gradients: list[Gradient]) -> None:
        """Take the averaged gradients at the predicted point, of the loss and of the climbed function."""
        towards, past = self.towards, self._past
        self.slope, self.ascent_direction = gradients[0], towards.of(gradients[-1], past)
        self.local = {number: towards.of(local, past) for number, local in self._next_local.items()}
        self._past, self._next_local = None, {}

    def _at_prediction(self) -> tuple[Gradient, Gradient]:
        """The gradient at ``y_t`` of the loss, and the ascent's direction. They exist once :meth:`start` has run."""
        assert self.slope is not None and self.ascent_direction is not None
        return self.slope, self.ascent_direction

    def _given_up(self, context: GradientContext) -> Gradient:
        """The slope, which leads to the predicted point.

        The last micro-batch is the last to need it. Its memory is then free for the gradient at that point.
        """
        slope, _ = self._at_prediction()
        if not context.last_micro_batch:
            return copied_gradient(slope)
        if not context.divided:
            self.slope = self.ascent_direction = None
            self.local = {}
        return slope

    def _gradients(self, context: GradientContext, ahead: int) -> list[Gradient]:
        # The log has the pass at the predicted point, which in a first move another role may take.
        gradients = context.gradients(*self.targets, ahead=ahead, observed=ahead > 0)
        if self.ascent == "local" and not context.divided:
            self._next_local[context.micro_batch] = gradients[-1]
        return gradients

    def state_dict(self) -> dict[str, Any]:
        # In most runs both are one object, which is then stored once.
        own = None if self.ascent_direction is self.slope else self.ascent_direction
        return {"slope": self.slope, "direction": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.slope = state["slope"]
        self.ascent_direction = self.slope if state["direction"] is None else state["direction"]
        self.local = {}

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        gradient = Maybe([Maybe(p) for p in parameters])
        return {"slope": gradient, "direction": gradient}


@contextmanager
def predicted(context: GradientContext, gradient: Gradient) -> Iterator[None]:
    """Moves the parameters to the point to which the optimizer would go along ``gradient``.

    At the end of the context the parameters and the optimizer's state are as they were. The gradient is not kept in
    memory inside the context.
    """
    with preserve(context.parameters):
        if context.origin is not None:
            copy_(context.parameters, context.origin)
        set_gradient(context.parameters, gradient)
        del gradient
        with _state_kept(context.optimizer):
            context.optimizer.step()
        set_gradient(context.parameters, [None] * len(context.parameters))
        yield


@contextmanager
def _state_kept(optimizer: Optimizer) -> Iterator[None]:
    """Lets the optimizer work on a copy of its state. Afterwards it has its own tensors again, unchanged."""
    own = dict(optimizer.state)
    copies = iter(snapshot([v for state in own.values() for v in state.values() if isinstance(v, Tensor)]))
    for p, state in own.items():
        optimizer.state[p] = {k: next(copies) if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in state.items()}
    with options_kept(optimizer):
        try:
            yield
        finally:
            optimizer.state.clear()
            optimizer.state.update(own)


@torch.no_grad()
def _mixed(left: Gradient, right: Gradient, mix: float) -> Gradient:
    """``(1 - mix) left + mix right``, in the memory of ``left``. None stands for zero, and for the mixture of two."""
    pairs = [(torch.zeros_like(b) if a is None and b is not None else a, b) for a, b in zip(left, right, strict=True)]
    mixed = [a for a, _ in pairs]
    given = [(a, torch.zeros_like(a) if b is None else b) for a, b in pairs if a is not None]
    if given:
        torch._foreach_lerp_([a for a, _ in given], [b for _, b in given], mix)
    return mixed
