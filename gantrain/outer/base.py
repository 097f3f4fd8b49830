"""The interface of outer loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gantrain.config.types import Draws, Order, PositiveInt
from gantrain.errors import UserError
from gantrain.optim.optimizers import keeps_state

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.games.base import Game
    from gantrain.outer.field import Anchor, Field
    from gantrain.outer.learner import Learner


def check_moves(order: str | None, samples: str | None) -> None:
    """Check an outer loop's settings ``order`` and ``samples``. None leaves a setting to the field.

    Raises:
        UserError: the order is neither simultaneous nor alternating, or the samples are neither fresh nor same.
    """
    for key, value, known in (
        ("order", order, ("simultaneous", "alternating")),
        ("samples", samples, ("fresh", "same")),
    ):
        if value is not None and value not in known:
            raise UserError(f"{key}: expected one of {', '.join(known)}, got {value!r}")


class Outer(ABC):
    """An outer loop: it moves the joint iterate ``z = (theta_1, ..., theta_N)`` of all players.

    A loop of your own defines :meth:`step`; all else may be left out. A config names it with ``outer: {target:
    "my_loops:Mine", …}``, and the arguments of its constructor are its keys; one that is annotated as ``gt.Outer`` is
    another loop. State that later steps depend on belongs in :meth:`state_dict`, so that a run resumes.

    Attributes:
        steps_from_anchor: whether a step begins at an anchor, takes gradients at other points, and ends at the next
            anchor, as that of RAPP does. A loop that ends steps elsewhere says by :meth:`anchor` where its anchor is.
    """

    steps_from_anchor: ClassVar[bool] = False

    def require(self, field: Field) -> None:  # noqa: B027 - most loops move any field
        """Refuse a field that the loop cannot move. This is called once, before the first step.

        Raises:
            UserError: the message says what does not fit.
        """

    @abstractmethod
    def step(self, field: Field) -> bool:
        """Take one training step: one step of the innermost loop.

        If this step completes a cycle of a loop around the innermost one, that loop takes its step, too.

        Args:
            field: the field whose players move: ``field.move(field.draw(), "simultaneous")`` lets all of them take one
                step of their optimizers on a fresh batch. ``field.evaluate`` and ``field.advance`` are the halves of a
                move, ``field.snapshot``, ``restore`` and ``relax`` keep points and go back to them, and
                ``field.learners`` have the parameters.

        Returns:
            Whether the outer step is complete, that is, whether the current point is an outer iterate.
        """

    @property
    def has_anchor(self) -> bool:
        """Whether the loop has an anchor, of which an average may be taken: see :attr:`steps_from_anchor`."""
        return self.steps_from_anchor or type(self).anchor is not Outer.anchor

    def anchor(self) -> dict | None:
        """The last outer iterate, as tensors by player, or None if the current point is an outer iterate."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The loop's own state, on which later steps depend: tensors, numbers and texts, in lists and dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most loops keep nothing
        """Take back what :meth:`state_dict` returned."""

    def state_form(self, field: Field) -> dict[str, Any] | None:
        """A tree like each that :meth:`state_dict` may return, by which a checkpoint is checked before it is loaded.

        :class:`~gantrain.utils.nested.Maybe` stands for what may be None; None stands for anything. By default a state
        may be anything, unless the loop keeps none.
        """
        return {} if type(self).state_dict is Outer.state_dict else None


def stand_ins(game: Game, anchor: Mapping[str, Sequence[Tensor]]) -> dict[int, Tensor]:
    """The tensors of an anchor by the ``id`` of the players' tensors for which they stand.

    Args:
        game: the game.
        anchor: the tensors by player, as :meth:`Outer.anchor` returns them: parameters, which statistics may follow.
    """
    pairs = [(player.parameters + player.statistics, anchor[name]) for name, player in game.players.items()]
    return {id(t): kept for tensors, at in pairs for t, kept in zip(tensors, at, strict=False)}


def require_simultaneous(field: Field, name: str) -> None:
    """Refuse a field whose players move in alternation, for the loop of this name, which moves them simultaneously.

    Raises:
        UserError: the order of the field is alternating.
    """
    if field.order != "simultaneous":
        raise UserError(f"outer: {name} moves all players simultaneously; leave order out")


def require_no_state(field: Field, why: str) -> None:
    """Refuse optimizers that keep a state from step to step.

    Args:
        field: the field, before the first step.
        why: the name of the loop and what it does, such as "ceg_plus with curvature tries several step sizes".

    Raises:
        UserError: the optimizer of a player has state.
    """
    for learner in field.learners:
        if keeps_state(learner.optimizer):
            raise UserError(
                f"player {learner.name}: {why}, and {type(learner.optimizer).__name__} would move its state at each; "
                "use sgd without momentum"
            )


class Mover(Outer):
    """An innermost loop, which moves the players itself, in one or more inner moves.

    With critic steps an inner move is several moves: all players but the last, the critics, make each of them, and the
    last player makes the last one. An inner move from an anchor lets each player's first move in it step from there;
    the further moves of the critics step on from where they are.

    Args:
        order: "simultaneous": all players are evaluated at one joint point; "alternating": each player sees the moves
            of those before it. None takes the order of the field, which is simultaneous by default.
        samples: whether each move takes a "fresh" batch, or all moves of a step take the "same" batch. None takes the
            setting of the field, which is fresh by default.
        critic_steps: the number of moves in an inner move. Default 1.

    Raises:
        UserError: ``order`` or ``samples`` is another word.
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        check_moves(order, samples)
        self.order = order
        self.samples = samples
        self.critic_steps = critic_steps

    def draws(self, field: Field) -> Iterator[int]:
        """The indices of the batches for the moves of a step, without end."""
        first = field.draw()
        yield first
        while True:
            yield first if (self.samples or field.samples) == "same" else field.draw()

    def moves(self, field: Field, anchor: Anchor | None = None) -> Iterator[tuple[list[Learner], Anchor | None]]:
        """The moves of an inner move: who moves, and the anchor from which those of them step that it names.

        Args:
            field: the field.
            anchor: the anchor of all players; by default they step from where they are.
        """
        *critics, last = field.learners
        # A game of one player has no critics, and draws no batches for them.
        for _ in range(self.critic_steps - 1 if critics else 0):
            yield critics, anchor
            anchor = anchor and {last.name: anchor[last.name]}
        yield field.learners, anchor
