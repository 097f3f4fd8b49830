"""Copies of the parameters that a loop or an oracle holds, found by counting the bytes of the tensors alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gantrain.games.base import Game, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.outer.gda import GDA
from gantrain.outer.learner import Learner
from gantrain.sharpness.base import Oracle, Plain

# The entries of a strategy are so many that single numbers do not count; the steps complete each loop's first cycle.
_ENTRIES, _STEPS = 10_000, 8


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that torch makes inside the context and that are still alive.

    Memory that several tensors share counts once. Memory that is older than the context does not count, nor does what
    torch's operations need while they run.

    Attributes:
        now: the bytes that are alive.
        peak: the most that were alive at a time; may be set back to ``now``.

    Examples:
        >>> with LiveBytes() as live:
        ...     kept = torch.zeros(100)
        ...     del kept
        ...     other = torch.zeros(10)
        >>> live.now, live.peak
        (40, 400)
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        for memory in _memory((args, kwargs)):
            self._see(memory, 0)
        made = func(*args, **(kwargs or {}))
        for memory in _memory(made):
            self._see(memory, memory.nbytes())
        return made

    def _see(self, memory: torch.UntypedStorage, size: int) -> None:
        if id(memory) not in self._known:
            self._known.add(id(memory))
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(memory, self._forget, id(memory), size)

    def _forget(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size


def _memory(tree: Any) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


class Slopes(Game):
    """Each player descends a linear function of its own, whose gradient takes no memory but its own.

    Args:
        players: the number of players.
    """

    def __init__(self, players: int):
        super().__init__([Player(f"player{i}", _Point()) for i in range(players)])
        self.slope = torch.ones(_ENTRIES)

    def objective(self, player: str, batch: object) -> Objective:
        loss = torch.dot(self.players[player].parameters[0], self.slope)
        return Objective(loss, loss[None], torch.zeros(1, dtype=torch.int64))


class _Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.ones(_ENTRIES))


def copies(
    outer: Callable[[], Outer] = GDA,
    oracle: Callable[[], Oracle] = Plain,
    optimizer: Callable[..., Optimizer] = SGD,
    players: int = 1,
) -> tuple[float, float]:
    """What training holds beside parameters, gradients and the optimizers' states, in copies of all parameters.

    Args:
        outer: makes the loop.
        oracle: makes each player's oracle.
        optimizer: makes each player's optimizer.
        players: the number of players.

    Returns:
        The most that is held between two steps, and the most that is held at any time.
    """
    game = Slopes(players)
    learners = [Learner(player, optimizer(player.parameters, lr=0.01), oracle()) for player in game.players.values()]
    loop, field = outer(), Field(Evaluator(game, lambda draw, step: None), learners)
    between = 0
    with LiveBytes() as live:
        for _ in range(_STEPS):
            loop.step(field)
            field.evaluator.step += 1
            between = max(between, live.now)
    tensors = [t for each in learners for state in each.optimizer.state.values() for t in tree_leaves(state)]
    states = sum(t.nbytes for t in tensors if isinstance(t, Tensor))
    one = sum(p.nbytes for each in learners for p in each.parameters)
    return (between - states) / one - 1, (live.peak - states) / one - 1
