"""The interface of gradient oracles, and the plain gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from gantrain.field import Here

Gradient = list["Tensor | None"]


class Oracle(ABC):
    """How one player's gradient is obtained at the current point.

    It happens in two stages with one collective between them: :meth:`evaluate` differentiates on this process's share
    of the batch, what it returns is averaged over the processes, and :meth:`combine` turns the averages into the
    gradient that the optimizer is given. Parameters are left as they were found, also when an exception passes through.
    """

    @abstractmethod
    def evaluate(self, here: Here) -> list[Gradient]:
        """The gradients to be averaged over the processes, each with one entry for each of ``here.parameters``."""

    def combine(self, gradients: list[Gradient]) -> Gradient:
        """The gradient for the optimizer, from the averages; the first of them by default."""
        return gradients[0]

    def state_dict(self) -> dict[str, Any]:
        """What a later evaluation depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most oracles keep nothing
        """Take back what :meth:`state_dict` returned."""


class Plain(Oracle):
    """The gradient of the player's loss."""

    def evaluate(self, here: Here) -> list[Gradient]:
        return [here.gradient()]
