"""Games given by a function of the players' strategies: tensors or modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.config.types import shown
from gantrain.errors import UserError
from gantrain.games.base import Game, Objective, Player, copying


class Vector(nn.Module):
    """A strategy that is a bare tensor."""

    def __init__(self, value: Tensor):
        super().__init__()
        self.value = nn.Parameter(value.detach().clone())


def scalar(value: Any) -> Tensor:
    """The value that a function of the strategies returned, which must be a tensor with one element.

    Raises:
        UserError: the value is something else.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
    raise UserError(f"the game's function: expected a scalar tensor, got {got}")


class FunctionGame(Game):
    """A game whose objectives are functions of all players' strategies, and of a batch if there are batches.

    A strategy is a tensor or an ``nn.Module``, and the function receives a tensor or a module likewise. The game itself
    stays at its starting point: :meth:`fresh` returns a copy that may be moved.

    Args:
        f: called as ``f(*strategies)`` or ``f(*strategies, batch)``.
        strategies: the starting point by player, in the order in which the players move.
        batches: the data, cycled through; None for a deterministic game.

    Raises:
        UserError: a strategy is neither a floating-point tensor nor a module.
    """

    def __init__(self, f: Callable[..., Any], strategies: Mapping[str, Tensor | nn.Module], batches: Any = None):
        for name, s in strategies.items():
            if not isinstance(s, nn.Module) and not (isinstance(s, Tensor) and s.is_floating_point()):
                raise UserError(f"player {name}: expected a floating-point tensor or a module, got {s!r:.60}")
        super().__init__([Player(name, s if isinstance(s, nn.Module) else Vector(s)) for name, s in strategies.items()])
        self.f = f
        self.batches = batches

    def fresh(self) -> FunctionGame:
        """A copy of the game, which has its own copies of the strategies."""
        twin = copy.copy(self)
        with copying(self):
            twin.players = {name: Player(name, copy.deepcopy(player.module)) for name, player in self.players.items()}
        return twin

    def strategies(self) -> list[Tensor | nn.Module]:
        """The current strategies, as the function receives them."""
        modules = [player.module for player in self.players.values()]
        return [m.value if isinstance(m, Vector) else m for m in modules]

    def value(self, batch: Any) -> Any:
        """The value of the function at the current strategies. ``batch`` is None in a deterministic game."""
        return self.f(*self.strategies()) if batch is None else self.f(*self.strategies(), batch)


class ZeroSum(FunctionGame):
    """``min_x max_y f(x, y)``: the first player minimises ``f``, the second maximises it.

    Args:
        f: ``f(x, y)`` or ``f(x, y, batch)``, a scalar.
        x: the starting point of the first player: a tensor (cloned) or a module.
        y: the starting point of the second player: a tensor (cloned) or a module.
        batches: the data, cycled through; None for a deterministic game.

    Examples:
        >>> game = ZeroSum(lambda x, y: (x * y).sum(), torch.tensor([2.0]), torch.tensor([3.0]))
        >>> game.objective("x", None).loss.item(), game.objective("y", None).loss.item()
        (6.0, -6.0)
    """

    def __init__(self, f: Callable[..., Tensor], x: Tensor | nn.Module, y: Tensor | nn.Module, batches: Any = None):
        super().__init__(f, {"x": x, "y": y}, batches)

    def objective(self, player: str, batch: Any) -> Objective:
        value = scalar(self.value(batch))
        return Objective(value if player == "x" else -value)


class Minimize(FunctionGame):
    """``min_x f(x)``: the game with one player, ``x``, who minimises ``f``.

    Args:
        f: ``f(x)`` or ``f(x, batch)``. It returns a scalar, or an :class:`~gantrain.games.base.Objective` with the
            logits and targets that BiSAM needs.
        x: the starting point: a tensor (cloned) or a module.
        batches: the data, cycled through; None for a deterministic problem.

    Examples:
        >>> game = Minimize(lambda x, batch: (x - batch).square().sum(), torch.zeros(1), batches=[1.0, 3.0])
        >>> game.objective("x", 3.0).loss.item()
        9.0
    """

    def __init__(self, f: Callable[..., Tensor | Objective], x: Tensor | nn.Module, batches: Any = None):
        super().__init__(f, {"x": x}, batches)

    def objective(self, player: str, batch: Any) -> Objective:
        value = self.value(batch)
        return value if isinstance(value, Objective) else Objective(scalar(value))


class GeneralSum(FunctionGame):
    """A game of N players, each of which minimises its own function.

    Args:
        fs: the functions by player: ``f_i(*strategies)`` or ``f_i(*strategies, batch)`` returns the scalar that player
            i minimises.
        strategies: the starting point by player, in the order in which the players move; tensors or modules.
        batches: the data, cycled through; None for a deterministic game.

    Raises:
        UserError: ``fs`` and ``strategies`` do not name the same players.

    Examples:
        Two firms choose how much they make of a good; a higher total lowers the price for both.

        >>> def minus_profit(own, other):
        ...     return -own * (1 - own - other)
        >>> firms = {"first": minus_profit, "second": lambda x, y: minus_profit(y, x)}
        >>> game = GeneralSum(firms, {"first": torch.tensor(0.5), "second": torch.tensor(0.25)})
        >>> [game.objective(firm, None).loss.item() for firm in firms]
        [-0.125, -0.0625]
    """

    def __init__(
        self, fs: dict[str, Callable[..., Tensor]], strategies: dict[str, Tensor | nn.Module], batches: Any = None
    ):
        if set(fs) != set(strategies):
            raise UserError(
                f"functions are given for {sorted(fs)}, strategies for {sorted(strategies)}; give both for every player"
            )
        super().__init__(self._all, strategies, batches)
        self.fs = fs

    def objective(self, player: str, batch: Any) -> Objective:
        strategies = self.strategies()
        f = self.fs[player]
        return Objective(scalar(f(*strategies) if batch is None else f(*strategies, batch)))

    def _all(self, *arguments: Any) -> tuple[Tensor, ...]:
        """The values of all players' functions."""
        return tuple(f(*arguments) for f in self.fs.values())


class VectorField(FunctionGame):
    """Players that follow a given vector field, which need not come from objectives: ``z <- z - gamma F(z)``.

    Args:
        f: ``f(*strategies)`` returns, for each player, the direction that the player descends. The directions have the
            shapes of the strategies.
        strategies: the starting point by player, in the order in which the players move; tensors.

    Examples:
        >>> game = VectorField(lambda x, y: (y, -x), {"x": torch.tensor(1.0), "y": torch.tensor(2.0)})
        >>> game.objective("x", None).loss.backward()
        >>> game.players["x"].parameters[0].grad.item()
        2.0
    """

    def __init__(self, f: Callable[..., tuple[Tensor, ...]], strategies: dict[str, Tensor]):
        super().__init__(f, strategies)

    def objective(self, player: str, batch: Any) -> Objective:
        strategies = self.strategies()
        index = list(self.players).index(player)
        with torch.set_grad_enabled(self.joint):
            direction = self.f(*strategies)[index]
        return Objective(_Along.apply(strategies[index], direction))


class _Along(torch.autograd.Function):
    """``<x, direction>``, with the direction as its gradient in x, even if the direction depends on x.

    The gradient can be differentiated once more, which gives the derivatives of the direction.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, direction: Tensor) -> Tensor:
        ctx.save_for_backward(direction)
        return (x * direction).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None
