"""The base classes of toy games, whose solutions are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gantrain.games.function import VectorField


class SolvedGame(VectorField):
    """A game given by its vector field, whose solution is known.

    Args:
        f: the vector field, as in :class:`~gantrain.games.function.VectorField`.
        strategies: the starting point by player.
        solution: the solution for each player, in the order of ``strategies``; numbers, or tensors of the strategies'
            shapes.
    """

    def __init__(
        self,
        f: Callable[..., tuple[Tensor, ...]],
        strategies: dict[str, Tensor],
        solution: Sequence[float | Tensor],
    ):
        super().__init__(f, strategies)
        self.solution = tuple(solution)

    def distances(self, path: Mapping[str, Tensor]) -> Tensor:
        """The distance of each iterate of a path from the solution: ``(steps + 1,)``.

        Args:
            path: the iterates by player, ``(steps + 1, *shape)``.
        """
        parts = [path[name] - at for name, at in zip(self.players, self.solution, strict=True)]
        away = torch.cat([part.reshape(len(part), -1) for part in parts], 1)
        # On a path that diverges the squares of the numbers would overflow long before the numbers do.
        scale = away.abs().amax(1, keepdim=True).clamp(min=torch.finfo(away.dtype).tiny)
        return scale[:, 0] * torch.linalg.vector_norm(away / scale, dim=1)


class ToyGame(SolvedGame):
    """A game between two scalars, given by its vector field ``F(x, y) = (F_x, F_y)``; both players descend.

    Attributes:
        solution: the solution ``(x, y)``.
        domain: half the side of the square around the origin that pictures show.
    """

    solution: tuple[float, float] = (0.0, 0.0)
    domain: float = 1.5

    def __init__(self, start: tuple[float, float]):
        x, y = (torch.tensor(float(v), dtype=torch.float64) for v in start)
        super().__init__(self.field, {"x": x, "y": y}, self.solution)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``F(x, y)``, elementwise. A subclass must define this method."""
        raise TypeError(f"{type(self).__name__} must define field(x, y)")
