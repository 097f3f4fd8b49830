"""The move, from which all outer loops are built.

A move asks each player's oracle for a gradient at the current point, optionally goes back to an anchor, lets the
optimizer step, and applies the resolvent of the player's constraint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, get_args

import torch
from torch import Tensor

from gantrain.config.types import Draws, Order, shown
from gantrain.config.user_code import UserCode, described, is_users, name_of
from gantrain.errors import Diverged, UserError
from gantrain.games.base import Gradient
from gantrain.gradients.buffers import BufferSync
from gantrain.gradients.collectives import begin_exchange, begin_mean
from gantrain.gradients.context import GradientContext
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.constraints import Resolvent
from gantrain.outer.learner import Learner
from gantrain.utils.declared import declares
from gantrain.utils.tensors import copy_, lerp_from_, norm, set_gradient, snapshot

Anchor = dict[str, list[Tensor]]


class Field:
    """``F``, the vector field of the game: every player's gradient at the joint point, and the moves along it.

    Args:
        evaluator: the evaluator that differentiates the game.
        learners: one learner for each player, in the order in which the players move.
        order: the order of the players' moves, for outer loops that do not set their own.
        samples: whether the inner moves of a step take "fresh" batches or the "same" batch, for outer loops that do not
            set this themselves.
        constraint: the resolvent of a constraint on all players' parameters together; none by default.

    Attributes:
        divided: the names of the players in whose evaluations the processes have roles.

    Raises:
        UserError: an oracle needs more processes than there are.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        learners: Sequence[Learner],
        order: Order = "simultaneous",
        samples: Draws = "fresh",
        constraint: Resolvent | None = None,
    ):
        self.evaluator = evaluator
        self.learners = list(learners)
        self.order = order
        self.samples = samples
        self.constraint = constraint
        self.divided = [learner.name for learner in self.learners if self._divides(learner)]

    def draw(self) -> int:
        """Count a new batch, and return its index."""
        return self.evaluator.draw()

    def move(
        self,
        draw: int,
        order: Order | None = None,
        anchor: Anchor | None = None,
        auxiliary: bool = False,
        resolve: bool = True,
        learners: Sequence[Learner] | None = None,
    ) -> None:
        """Move the players once.

        Args:
            draw: the index of the batch on which the gradients are taken.
            order: "simultaneous": all gradients are taken at the same joint point; "alternating": each player sees the
                moves of those before it. By default the field's own order.
            anchor: the point from which the optimizers step; a player that it does not name steps from the current
                point, and by default all do.
            auxiliary: whether all buffers (running statistics, spectral-norm vectors) are left as they were.
            resolve: whether the resolvents are applied.
            learners: the learners that move; all by default.
        """
        for turn in self.turns(order, learners):
            self.evaluate(draw, turn, anchor, auxiliary)
            self.advance(turn, anchor, resolve)

    def turns(self, order: Order | None = None, learners: Sequence[Learner] | None = None) -> list[list[Learner]]:
        """The learners that move together, one group after the other; the arguments are those of :meth:`move`.

        Raises:
            UserError: there is no such order.
        """
        movers = self.learners if learners is None else list(learners)
        order = order or self.order
        if order not in get_args(Order):
            raise UserError(f"outer: order: expected {' or '.join(get_args(Order))}, got {shown(order)}")
        return [movers] if order == "simultaneous" else [[mover] for mover in movers]

    def evaluate(
        self, draw: int, learners: Sequence[Learner], anchor: Anchor | None = None, auxiliary: bool = False
    ) -> None:
        """Fill ``.grad`` of the learners' parameters with their oracles' gradients at the current point.

        If an exception passes through, parameters and optimizers are as they were, and ``.grad`` is None.

        Args:
            draw: the index of the batch.
            learners: the learners whose gradients are taken.
            anchor: the point from which the optimizers will step; the current point by default.
            auxiliary: whether all buffers are left as they were.
        """
        evaluator = self.evaluator
        observing = evaluator.observing and not auxiliary
        if observing:
            evaluator.observed |= {learner.name: {} for learner in learners}
        contexts = [self._context(learner, draw, anchor, observing) for learner in learners]
        roles = 1 if auxiliary else max((context.roles for context in contexts), default=1)
        try:
            sync = BufferSync(evaluator.processes, evaluator.running, roles) if roles > 1 else None
            with evaluator.aside() if auxiliary else nullcontext():
                averages = self._begin(learners, contexts)
            received = sync.begin() if sync is not None else None
            evaluated = averages()
            if received is not None:
                received()
                evaluator.once_per_step.moved_elsewhere(evaluator.step, evaluator.accumulation.number)
            for learner in learners:
                if learner.name in self.divided and evaluator.loss_scales:
                    evaluator.loss_scales[learner.name].settle(evaluator.processes)
            for learner, gradients in zip(learners, evaluated, strict=True):
                with UserCode(f"game.{learner.name}.sharpness", learner.oracle):
                    gradient = learner.oracle.combine(gradients)
                if all(gradient is not known for known in gradients):
                    _require_gradient(gradient, learner, "combine")
                if observing or learner.clip is not None:
                    length = norm([g for g in gradient if g is not None])
                    gradient = learner.within_clip(gradient, length)
                    if observing:
                        evaluator.observed[learner.name]["gradient_norm"] = length
                set_gradient(learner.parameters, gradient)
        except BaseException:
            for p in (p for learner in learners for p in learner.parameters):
                p.grad = None
            raise

    def advance(self, learners: Sequence[Learner], anchor: Anchor | None = None, resolve: bool = True) -> None:
        """Let the learners' optimizers step along ``.grad``, from the anchor where it names them."""
        for learner in learners:
            if anchor is not None and learner.name in anchor:
                copy_(learner.parameters, anchor[learner.name])
            with UserCode(f"game.{learner.name}.optimizer", learner.optimizer):
                learner.optimizer.step()
        if resolve:
            self.resolve(learners)

    def resolve(self, learners: Sequence[Learner]) -> None:
        """Apply each learner's own resolvent, and then the resolvent on all players together."""
        for learner in learners:
            if learner.constraint is not None:
                with UserCode(f"game.{learner.name}.constraint", learner.constraint):
                    returned: Any = learner.constraint.apply_(learner.parameters, learner.step_size)
                if returned is not None:
                    raise UserError(
                        f"game.{learner.name}.constraint: {name_of(learner.constraint)}.apply_: expected None, since "
                        f"it changes the parameters in place, got {described(returned)}"
                    )
        if self.constraint is not None:
            everyone = [p for learner in self.learners for p in learner.parameters]
            self.constraint.apply_(everyone, self.learners[0].step_size)

    def snapshot(self, into: Anchor | None = None) -> Anchor:
        """A copy of all parameters, in the memory of an earlier one, ``into``, which must not be needed any more."""
        return {each.name: snapshot(each.parameters, (into or {}).get(each.name)) for each in self.learners}

    def restore(self, anchor: Anchor) -> None:
        """Set all parameters back to the anchor."""
        for learner in self.learners:
            copy_(learner.parameters, anchor[learner.name])

    def relax(self, anchor: Anchor, relaxation: float) -> None:
        """Move all parameters ``w`` to ``z + relaxation * (w - z)`` for the anchor ``z``."""
        if relaxation != 1.0:
            for learner in self.learners:
                lerp_from_(learner.parameters, anchor[learner.name], relaxation)

    def state_dict(self) -> dict[str, Any]:
        """The state of the evaluator and of the oracles."""
        oracles = {}
        for learner in self.learners:
            with UserCode(f"game.{learner.name}.sharpness", learner.oracle):
                oracles[learner.name] = learner.oracle.state_dict()
        counts = {each.name: [each.clipped, each.evaluated] for each in self.learners if each.clip is not None}
        clipped = {"clipped": counts} if counts else {}
        return {**self.evaluator.state_dict(), "oracles": oracles, **clipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.evaluator.load_state_dict(state)
        for learner in self.learners:
            learner.oracle.load_state_dict(state["oracles"][learner.name])
            if learner.clip is not None:
                learner.clipped, learner.evaluated = state["clipped"][learner.name]

    def state_form(self) -> dict[str, Any]:
        """A tree like each that :meth:`state_dict` may return; see :meth:`gantrain.outer.base.Outer.state_form`."""
        oracles = {learner.name: learner.oracle.state_form(learner.parameters) for learner in self.learners}
        return {**self.state_dict(), "oracles": oracles}

    def _context(self, learner: Learner, draw: int, anchor: Anchor | None, observing: bool) -> GradientContext:
        return GradientContext(
            self.evaluator,
            learner.player,
            learner.optimizer,
            draw,
            None if anchor is None else anchor.get(learner.name),
            observing,
            learner.oracle.parts if learner.name in self.divided else 1,
        )

    def _begin(
        self, learners: Sequence[Learner], contexts: Sequence[GradientContext]
    ) -> Callable[[], list[list[Gradient]]]:
        """Evaluate the oracles. The function returned waits for the averages of what each learner's oracle evaluated.

        Oracles with one part are evaluated first, then the first parts of all other oracles, then their second parts,
        and so on. In this order processes with different roles need not wait for each other, and every pass begins with
        the same buffers as if there were no roles. The gradients of a learner go on their way to the other processes as
        soon as this process has all that it takes of them.
        """
        evaluator = self.evaluator
        if self._share_a_pass(learners):
            observing = contexts[0].observing
            draw = contexts[0].draw
            found = evaluator.accumulation.mean(lambda: evaluator.gradients_of_all(draw, observing))
            of = dict(zip(evaluator.game.players, found, strict=True))
            joint = begin_mean(evaluator.processes, [of[learner.name] for learner in learners])
            return lambda: [[gradient] for gradient in joint()]
        pairs = list(zip(learners, contexts, strict=True))
        for learner, context in pairs:
            if learner.oracle.parts > 1:
                with context.role():
                    self._start(learner, context)
        averages: list[Callable[[], list[Gradient]] | None] = [None for _ in pairs]
        for i, (learner, context) in enumerate(pairs):
            if learner.oracle.parts == 1:
                self._start(learner, context)
                averages[i] = begin_mean(evaluator.processes, self._part(learner, context, 0))
        gradients: list[list[Gradient]] = [[] for _ in pairs]
        for part in range(max((learner.oracle.parts for learner in learners), default=0)):
            for i, (learner, context) in enumerate(pairs):
                if not part < learner.oracle.parts > 1:
                    continue
                if not context.divided:
                    gradients[i] += self._part(learner, context, part)
                    if part == learner.oracle.parts - 1:
                        averages[i] = begin_mean(evaluator.processes, gradients[i])
                elif evaluator.processes.role(context.roles) == part:
                    averages[i] = self._begin_exchange(learner, context)
                else:
                    # The other role evaluates this part.
                    evaluator.evaluations[learner.name] += 1
        return lambda: [average() for average in averages if average is not None]

    def _share_a_pass(self, learners: Sequence[Learner]) -> bool:
        """Whether one pass gives the gradients of these learners: of all players, in any order, each by itself."""
        game = self.evaluator.game
        everyone = sorted(learner.name for learner in learners) == sorted(game.players)
        # A user's own pass knows nothing of shards, and might find no gradient of one.
        shares = game.shares_a_pass and not (self.evaluator.gathering and is_users(game))
        return shares and everyone and all(declares(learner.oracle, "plain") for learner in learners)

    @staticmethod
    def _start(learner: Learner, context: GradientContext) -> None:
        with _oracle_of(learner):
            learner.oracle.start(context)

    def _part(self, learner: Learner, context: GradientContext, part: int) -> list[Gradient]:
        """The gradients of one part of an oracle's evaluation, averaged over the micro-batches of this process."""
        return self.evaluator.accumulation.mean(lambda: _evaluated(learner, context, part))

    def _begin_exchange(self, learner: Learner, context: GradientContext) -> Callable[[], list[Gradient]]:
        """Evaluate the part of this process' role, and begin to exchange the gradients with the other roles."""
        processes = self.evaluator.processes
        role = processes.role(context.roles)
        gradients = [learner.oracle.expected(part) for part in range(context.roles)]
        try:
            with context.role():
                found = self._part(learner, context, role)
        except Diverged as error:
            # The other roles wait for gradients. That these are none, all learn when the scales settle.
            self.evaluator.loss_scales[learner.name].lost = error
            found = gradients[role]
        gradients[role] = [
            _in_layout(learner.name, g, expected) for g, expected in zip(found, gradients[role], strict=True)
        ]
        return begin_exchange(processes, gradients)

    def _divides(self, learner: Learner) -> bool:
        """Whether the processes divide into roles for the parts of the learner's oracle."""
        parts, parallel, processes = learner.oracle.parts, learner.oracle.parallel, self.evaluator.processes
        fits = parts > 1 and processes.world_size % parts == 0
        if parallel == "on" and not fits:
            raise UserError(
                f"player {learner.name}: sharpness.parallel: on needs {parts} processes or a multiple of it, got "
                f"{processes.world_size}; start so many processes (--processes), or use parallel: auto"
            )
        together = bool(self.evaluator.gathering)
        if parallel == "on" and together:
            raise UserError(
                f"player {learner.name}: sharpness.parallel: on divides the processes into halves, and run.sharding "
                "needs all of them for each gradient; use parallel: auto"
            )
        divides = fits and parallel != "off" and not together
        if divides:
            processes.divide(parts)
        return divides


@contextmanager
def _oracle_of(learner: Learner) -> Iterator[None]:
    """A call of a learner's oracle. What the oracle says of its own key stands below the player's."""
    try:
        with UserCode(f"game.{learner.name}.sharpness", learner.oracle):
            yield
    except UserError as error:
        if not str(error).startswith("sharpness."):
            raise
        raise UserError(f"game.{learner.name}.{error}") from error


def _evaluated(learner: Learner, context: GradientContext, part: int) -> list[Gradient]:
    """The gradients of one part of an oracle's evaluation on one micro-batch."""
    with _oracle_of(learner):
        gradients = learner.oracle.evaluate(context, part)
    several = isinstance(gradients, list | tuple) and gradients
    if not several or any(isinstance(gradient, Tensor) for gradient in gradients):
        raise UserError(
            f"game.{learner.name}.sharpness: {name_of(learner.oracle)}.evaluate: expected a list of gradients, such as "
            f"[context.gradient()], got {described(gradients)}"
        )
    for gradient in gradients:
        _require_gradient(gradient, learner, "evaluate")
    return list(gradients)


def _require_gradient(gradient: Any, learner: Learner, method: str) -> None:
    """Refuse what is no gradient of a player: a list with a tensor for each parameter in its shape, or None.

    Raises:
        UserError: an oracle returned something else.
    """
    n = len(learner.parameters)
    if not isinstance(gradient, list | tuple) or len(gradient) != n:
        raise UserError(
            f"{_method(learner, method)}: expected a gradient with an entry for each of the {n} parameters, got "
            f"{described(gradient)}"
        )
    for i, (p, g) in enumerate(zip(learner.parameters, gradient, strict=True)):
        if g is not None and (not isinstance(g, Tensor) or g.shape != p.shape or g.dtype != p.dtype):
            wanted = f"None or {described(p.detach())}"
            raise UserError(f"{_method(learner, method)}: expected for parameter {i} {wanted}, got {described(g)}")


def _method(learner: Learner, method: str) -> str:
    return f"game.{learner.name}.sharpness: {name_of(learner.oracle)}.{method}"


def _in_layout(player: str, gradient: Gradient, expected: Gradient) -> Gradient:
    """The gradient with tensors where one is expected, and None elsewhere."""
    if any(e is None and g is not None for g, e in zip(gradient, expected, strict=True)):
        raise UserError(
            f"player {player}: a parameter that had no gradient at first has one now, which processes with different "
            "roles cannot exchange; use sharpness.parallel: off"
        )
    return [torch.zeros_like(e) if g is None and e is not None else g for g, e in zip(gradient, expected, strict=True)]
