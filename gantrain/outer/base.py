"""The interface of outer loops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gantrain.config.types import Draws, Order
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.outer.field import Field


def check_moves(order: str | None, samples: str | None) -> None:
    """Refuse words that say nothing about inner moves; None leaves it to whoever runs the loop.

    Raises:
        UserError: another order than simultaneous or alternating, other samples than fresh or same.
    """
    for key, value, known in (
        ("order", order, ("simultaneous", "alternating")),
        ("samples", samples, ("fresh", "same")),
    ):
        if value is not None and value not in known:
            raise UserError(f"{key}: expected one of {', '.join(known)}, got {value!r}")


class Outer(ABC):
    """How the joint iterate ``z = (theta_1, ..., theta_N)`` moves."""

    @abstractmethod
    def step(self, field: Field) -> bool:
        """Take one training step: one step of the innermost loop, and what it completes in the loops around it.

        Returns:
            Whether the outer step is complete, that is, whether the current point is an outer iterate.
        """

    def anchor(self) -> dict | None:
        """The last outer iterate while a cycle is under way, None where the current point is it."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What a later step depends on besides the parameters, the optimizers and the field."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most loops keep nothing
        """Take back what :meth:`state_dict` returned."""


class Mover(Outer):
    """An innermost loop: one that moves the players itself, in one or more inner moves.

    Args:
        order: "simultaneous": all players are evaluated at one joint point; "alternating": each player sees the moves
            of those before it. None leaves it to whoever runs the loop, who takes simultaneous.
        samples: whether each inner move takes a "fresh" batch, or all inner moves of a step the "same". None leaves it
            to whoever runs the loop, who takes fresh.

    Raises:
        UserError: another word.
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        check_moves(order, samples)
        self.order = order
        self.samples = samples

    def draws(self, field: Field) -> Iterator[int]:
        """The draw on which each inner move of a step is evaluated."""
        first = field.draw()
        yield first
        while True:
            yield first if (self.samples or field.samples) == "same" else field.draw()
