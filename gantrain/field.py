"""The game's vector field, and the one primitive that all outer loops are made of: the move.

A move asks each player's oracle for a gradient at the current point, optionally goes back to an anchor, lets the
optimizer step and applies the resolvent of the player's constraint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.constraints import Resolvent
from gantrain.errors import UserError
from gantrain.game import Game, Player
from gantrain.loss_scale import LossScale
from gantrain.micro_batches import MicroBatches
from gantrain.params import copy_, kept, norm, relax_, snapshot
from gantrain.processes import Handover, Processes
from gantrain.sharpness.here import Here
from gantrain.sharpness.oracle import Gradient, Oracle, Plain

Anchor = dict[str, list[Tensor]]

# Numbers on a device that await the check that they are finite; looking at one makes the step wait for the device.
_UNCHECKED = 100


class Learner:
    """A player together with what moves it.

    Args:
        player: whose parameters move.
        optimizer: over exactly the player's parameters.
        oracle: how the player's gradient is obtained; the plain gradient by default.
        constraint: the resolvent applied to the player's parameters after each move; none by default.
    """

    def __init__(
        self,
        player: Player,
        optimizer: Optimizer,
        oracle: Oracle | None = None,
        constraint: Resolvent | None = None,
    ):
        self.name = player.name
        self.player = player
        self.parameters = player.parameters
        self.optimizer = optimizer
        self.oracle = oracle or Plain()
        self.constraint = constraint

    @property
    def step_size(self) -> float:
        """The learning rate of the first parameter group: the step size of the resolvent."""
        return float(self.optimizer.param_groups[0]["lr"])


class Field:
    """``F``: every player's gradient at the joint point, on batches that are a function of the draw.

    Args:
        game: whose objectives are differentiated.
        learners: one for each player, in the order in which they move.
        batches: ``(draw, step) -> batch``, a pure function of these and of :attr:`share`: asked twice, it returns the
            same batch.
        order: the order of moves for a loop that does not set its own.
        samples: whether the inner moves of a loop that does not set its own take fresh draws or the same.
        constraint: the resolvent of a constraint on all players' parameters together; none by default.
        processes: that share each batch; one alone by default. Gradients are averaged over them in one collective for
            each turn of players that move together.
        autocast: context in which objectives are computed.
        reseed: called with the draw before each objective is computed, so that what networks draw for themselves
            (dropout) is a function of the draw: passes on one batch are evaluations of one function. Nothing by
            default.
        seed: of the oracles' own random draws.
        accumulation: micro-batches into which each process cuts its share of a batch; see :attr:`share`.
        scaled: whether losses are scaled while they are differentiated, as float16 needs it.

    Attributes:
        step: the training step in progress; batches may depend on it (lazy penalties do).
        draws: batches drawn so far.
        evaluations: gradient evaluations so far, by player.
        loss_scales: by player, where losses are scaled.
        divided: names of the players in whose evaluations the processes have roles.
        observing: whether the next evaluations are recorded in ``observed``.
        observed: by player, the last recorded evaluation: ``loss``, ``score/NAME`` (means), ``gradient_norm``, and what
            the oracle itself observes; 0-d tensors.
    """

    def __init__(
        self,
        game: Game,
        learners: Sequence[Learner],
        batches: Callable[[int, int], Any],
        order: str = "simultaneous",
        samples: str = "fresh",
        constraint: Resolvent | None = None,
        processes: Processes | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        reseed: Callable[[int], None] | None = None,
        seed: int = 0,
        accumulation: int = 1,
        scaled: bool = False,
    ):
        self.seed = seed
        self.game = game
        self.learners = list(learners)
        self.batches = batches
        self.order = order
        self.samples = samples
        self.constraint = constraint
        self.processes = processes or Processes()
        self.autocast = autocast
        self.reseed = reseed
        self.buffers = [b for learner in self.learners for b in learner.player.buffers]
        self.micro_batches = MicroBatches(accumulation, self.buffers)
        self.loss_scales = {learner.name: LossScale() for learner in self.learners} if scaled else {}
        self.step = 0
        self.draws = 0
        self.evaluations = {learner.name: 0 for learner in self.learners}
        self.observing = False
        self.observed: dict[str, dict[str, Tensor]] = {}
        self._unchecked: list[tuple[str, Tensor]] = []
        self.divided = [learner.name for learner in self.learners if self._divides(learner)]
        self._batch: tuple[tuple[int, ...], Any] | None = None

    def draw(self) -> int:
        """The index of a new batch."""
        self.draws += 1
        return self.draws - 1

    @property
    def share(self) -> tuple[int, int]:
        """The share of each batch that is at work: its number, and how many there are.

        Part i of N on process r of W is share iW + r of NW, as it would be on NW processes. The i-th parts of all
        processes lie together, so that batch norm over them does not depend on W.
        """
        part, parts = self.micro_batches.current
        return part * self.processes.world + self.processes.rank, parts * self.processes.world

    def batch(self, draw: int) -> Any:
        key = (draw, self.step, *self.share)
        if self._batch is None or self._batch[0] != key:
            self._batch = (key, self.batches(draw, self.step))
        return self._batch[1]

    def move(
        self,
        draw: int,
        order: str | None = None,
        anchor: Anchor | None = None,
        auxiliary: bool = False,
        resolve: bool = True,
        learners: Sequence[Learner] | None = None,
    ) -> None:
        """One move of the players.

        Args:
            draw: the batch on which the gradients are taken.
            order: "simultaneous": all gradients at the same joint point; "alternating": each player sees the
                moves of those before it. The field's own by default.
            anchor: where the optimizers step from; the current point by default.
            auxiliary: leave all buffers (running statistics, spectral-norm vectors) as they were.
            resolve: whether the resolvents are applied.
            learners: who moves; everyone by default.
        """
        movers = self.learners if learners is None else list(learners)
        for turn in [movers] if (order or self.order) == "simultaneous" else [[m] for m in movers]:
            self.evaluate(draw, turn, anchor, auxiliary)
            self.advance(turn, anchor, resolve)

    def evaluate(
        self, draw: int, learners: Sequence[Learner], anchor: Anchor | None = None, auxiliary: bool = False
    ) -> None:
        """Fill ``.grad`` of the learners' parameters with their oracles' gradients at the current point.

        If an exception passes through, parameters and optimizers are as they were, and ``.grad`` is None.
        """
        observing = self.observing and not auxiliary
        if observing:
            self.observed |= {learner.name: {} for learner in learners}
        heres = [Here(self, learner, draw, anchor, observing) for learner in learners]
        roles = 1 if auxiliary else max((here.oracle.parts for here in heres if here.divided), default=1)
        try:
            handover = Handover(self.processes, self.buffers, roles)
            with kept(self.buffers) if auxiliary else nullcontext():
                evaluated = self._evaluated(heres)
            *evaluated, [buffers] = self.averaged([*evaluated, [handover.sent()]])
            handover.receive(buffers)
            for learner in learners:
                if learner.name in self.divided and self.loss_scales:
                    self.loss_scales[learner.name].settle(self.processes, learner.parameters[0].device)
            for learner, gradients in zip(learners, evaluated, strict=True):
                gradient = learner.oracle.combine(gradients)
                for p, g in zip(learner.parameters, gradient, strict=True):
                    p.grad = g
                if observing:
                    self.observed[learner.name]["gradient_norm"] = norm([g for g in gradient if g is not None])
        except BaseException:
            for p in (p for learner in learners for p in learner.parameters):
                p.grad = None
            raise

    def _evaluated(self, heres: Sequence[Here]) -> list[list[Gradient]]:
        """What the oracles evaluate: those in one part, then the first parts of the others, their second ones, …

        In this order processes with different roles need not wait for each other, and every pass begins with the same
        buffers as if there were no roles.
        """
        for here in heres:
            if here.oracle.parts > 1:
                with here.role():
                    here.oracle.start(here)
        evaluated: list[list[Gradient]] = [[] for _ in heres]
        for here, gradients in zip(heres, evaluated, strict=True):
            if here.oracle.parts == 1:
                here.oracle.start(here)
                gradients += here.part(0)
        for part in range(max((here.oracle.parts for here in heres), default=0)):
            for here, gradients in zip(heres, evaluated, strict=True):
                if part < here.oracle.parts > 1:
                    gradients += here.part(part)
        return evaluated

    def averaged(self, evaluated: list[list[Gradient]]) -> list[list[Gradient]]:
        """All gradients of all learners averaged over all processes, in one collective."""
        flat = [g for gradients in evaluated for gradient in gradients for g in gradient if g is not None]
        reduced = iter(self.processes.mean(flat))
        return [
            [[None if g is None else next(reduced) for g in gradient] for gradient in gradients]
            for gradients in evaluated
        ]

    def advance(self, learners: Sequence[Learner], anchor: Anchor | None = None, resolve: bool = True) -> None:
        """Let the optimizers step along ``.grad``, from the anchor if there is one."""
        for learner in learners:
            if anchor is not None:
                copy_(learner.parameters, anchor[learner.name])
            learner.optimizer.step()
        if resolve:
            self.resolve(learners)

    def resolve(self, learners: Sequence[Learner]) -> None:
        """Apply the resolvents: each learner's own, then the one on all players together."""
        for learner in learners:
            if learner.constraint is not None:
                learner.constraint.apply_(learner.parameters, learner.step_size)
        if self.constraint is not None:
            everyone = [p for learner in self.learners for p in learner.parameters]
            self.constraint.apply_(everyone, self.learners[0].step_size)

    def snapshot(self) -> Anchor:
        """A copy of all parameters."""
        return {learner.name: snapshot(learner.parameters) for learner in self.learners}

    def restore(self, anchor: Anchor) -> None:
        """Go back to the anchor."""
        for learner in self.learners:
            copy_(learner.parameters, anchor[learner.name])

    def relax(self, anchor: Anchor, relaxation: float) -> None:
        """Move all parameters ``w`` to ``z + relaxation * (w - z)`` for the anchor ``z``."""
        if relaxation != 1.0:
            for learner in self.learners:
                relax_(learner.parameters, anchor[learner.name], relaxation)

    def require_finite(self, player: str, what: str, value: Tensor) -> None:
        """Refuse a 0-d tensor that is not finite.

        At once on a CPU, where looking at it is free. Elsewhere the look is put off to the next observed step, or until
        there are a hundred to look at, so that steps do not wait for the device; the caller sees to it that nothing
        finite comes of the number meanwhile.

        Raises:
            UserError: it is not finite; or an earlier one, which was put off, is not.
        """
        self._unchecked.append((f"step {self.step}, player {player}: {what}", value.detach()))
        if not self.observing and value.device.type != "cpu" and len(self._unchecked) < _UNCHECKED:
            return
        unchecked, self._unchecked = self._unchecked, []
        for (about, _), number in zip(unchecked, torch.stack([v.double() for _, v in unchecked]).tolist(), strict=True):
            if not math.isfinite(number):
                raise UserError(f"{about} is {number}; the training diverged. Lower the learning rate")

    def state_dict(self) -> dict[str, Any]:
        oracles = {learner.name: learner.oracle.state_dict() for learner in self.learners}
        scales = {name: scale.state_dict() for name, scale in self.loss_scales.items()}
        return {"draws": self.draws, "evaluations": dict(self.evaluations), "oracles": oracles, "loss_scales": scales}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.draws = state["draws"]
        self.evaluations = dict(state["evaluations"])
        for name, scale in self.loss_scales.items():
            scale.load_state_dict(state["loss_scales"][name])
        for learner in self.learners:
            learner.oracle.load_state_dict(state["oracles"][learner.name])

    def _divides(self, learner: Learner) -> bool:
        """Whether the processes divide into roles for the parts of the learner's oracle."""
        parts, parallel = learner.oracle.parts, learner.oracle.parallel
        fits = parts > 1 and self.processes.everyone % parts == 0
        if parallel == "on" and not fits:
            raise UserError(
                f"player {learner.name}: sharpness.parallel: on needs {parts} processes or a multiple of it, got "
                f"{self.processes.everyone}; start as many (--processes), or use parallel: auto"
            )
        if fits and parallel != "off":
            self.processes.divide(parts)
        return fits and parallel != "off"
