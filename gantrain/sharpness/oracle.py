"""The interface of gradient oracles, and the plain gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from gantrain.field import Here


class Oracle:
    """How one player's gradient is obtained at the current point.

    An oracle returns the gradient that the optimizer is given, and leaves the parameters as it found them, also when
    an exception passes through.
    """

    def gradient(self, here: Here) -> list[Tensor | None]:
        """The gradient for the move that starts here: one entry for each of ``here.parameters``."""
        raise TypeError(f"{type(self).__name__} must define gradient(here)")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Plain(Oracle):
    """The gradient of the player's loss."""

    def gradient(self, here: Here) -> list[Tensor | None]:
        return here.gradient()
