"""The interface of gradient oracles, and the plain gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from gantrain.games.base import Gradient

if TYPE_CHECKING:
    from gantrain.gradients.context import GradientContext


class Oracle(ABC):
    """How one player's gradient is obtained at the current point.

    It happens in two stages with one collective between them: :meth:`evaluate` differentiates on a micro-batch (this
    process' share of the batch, or a part of it), what it returns is averaged over the micro-batches and the processes,
    and :meth:`combine` turns the averages into the gradient that the optimizer is given. Parameters and optimizer are
    left as they were found, also when an exception passes through; the oracle's own state changes in :meth:`combine`.

    Attributes:
        parts: into how many parts an evaluation falls that do not wait for each other. Each is one gradient evaluation,
            and only the last may move buffers.
        parallel: whether the processes divide into as many roles, one for each part: "on", "off", or "auto" where their
            number allows it. The processes of a role share the whole batch.
    """

    parts: int = 1
    parallel: str = "auto"

    def start(self, context: GradientContext) -> None:  # noqa: B027 - most oracles need nothing
        """What all parts and micro-batches need before they begin. All processes do it, also where they have roles."""

    @abstractmethod
    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        """The gradients of one part that are to be averaged over the micro-batches and the processes.

        Args:
            context: the current point.
            part: 0 … parts - 1; an oracle in one part need not look at it.

        Returns:
            Gradients, each with one entry for each of ``context.parameters``: a tensor, or None for zero.
        """

    def expected(self, part: int) -> list[Gradient]:
        """Gradients laid out like those that :meth:`evaluate` returns, for the processes that have another role.

        Only oracles in several parts are asked, after :meth:`start`.
        """
        raise NotImplementedError

    def combine(self, gradients: list[Gradient]) -> Gradient:
        """The gradient for the optimizer, from the averages of all parts; the first of them by default."""
        return gradients[0]

    def state_dict(self) -> dict[str, Any]:
        """What a later evaluation depends on; the same on all processes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most oracles keep nothing
        """Take back what :meth:`state_dict` returned."""


class Plain(Oracle):
    """The gradient of the player's loss."""

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        return [context.gradient()]
