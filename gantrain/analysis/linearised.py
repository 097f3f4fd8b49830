"""A game linearised at its current point: products with the Jacobian of its field, which is never written out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gantrain.compute.modes import eval_mode
from gantrain.games.base import Game
from gantrain.utils.abandon import between_batches
from gantrain.utils.tensors import preserve


@contextmanager
def undisturbed(game: Game, seed: int = 0) -> Iterator[None]:
    """Put all players into evaluation mode and give the block a random state of its own.

    After the block, modes, buffers and the global random state are as they were. In evaluation mode batch norm uses its
    running statistics, spectral norm its present vectors, and dropout does nothing: ``F`` is then a function of the
    parameters and the batch. Attention is computed by its plain formula, since the fused ones have no second
    derivative.

    Args:
        game: the game.
        seed: the seed of random numbers that networks draw themselves.
    """
    modules = [player.module for player in game.players.values()]
    buffers = [b for player in game.players.values() for b in player.buffers]
    parameters = [p for player in game.players.values() for p in player.parameters]
    devices = sorted({t.device.index for t in parameters if t.device.type == "cuda"})
    with ExitStack() as modes, preserve(buffers), torch.random.fork_rng(devices=devices), torch.enable_grad():
        for module in modules:
            modes.enter_context(eval_mode(module))
        torch.manual_seed(seed)
        with sdpa_kernel(SDPBackend.MATH):
            yield


class Linearised:
    """``F(z) = (grad_{z_i} f_i(z))_i`` on one batch at the current point ``z``, and products with its Jacobian ``J``.

    Vectors are flat: all players' parameters end to end, in the order of the game. ``J^T v`` is a backward pass through
    the graph of ``F``; ``J v`` is the derivative of ``J^T u`` with respect to ``u``, since not every network has a
    forward-mode derivative (spectral norm and functions of the user's have none). The graphs are kept as long as the
    object lives, and parameters must not be changed meanwhile.

    Args:
        game: the game, inside :func:`undisturbed`.
        batch: the batch on which the objectives are computed.

    Attributes:
        value: ``F(z)``, ``(n,)``, detached.
        size: n, the number of parameters of all players.
        products: the number of products computed so far.
        slices: for each player the part of a flat vector that is the player's.
    """

    def __init__(self, game: Game, batch: Any):
        self._parameters = {name: player.parameters for name, player in game.players.items()}
        self._all = [p for parameters in self._parameters.values() for p in parameters]
        game.joint = True
        try:
            self._parts = {
                name: _flat(
                    torch.autograd.grad(
                        game.objective(name, batch).loss, parameters, create_graph=True, materialize_grads=True
                    )
                )
                for name, parameters in self._parameters.items()
            }
        finally:
            game.joint = False
        self._field = torch.cat(list(self._parts.values()))
        self._pullback: tuple[Tensor, Tensor] | None = None
        self.value = self._field.detach()
        self.size = len(self.value)
        self.products = 0
        self.slices: dict[str, slice] = {}
        start = 0
        for name, part in self._parts.items():
            self.slices[name] = slice(start, start + len(part))
            start += len(part)

    def transposed(self, v: Tensor) -> Tensor:
        """``J^T v``, ``(n,)``."""
        self.products += 1
        return _product(self._field, self._all, v)

    def product(self, v: Tensor) -> Tensor:
        """``J v``, ``(n,)``."""
        self.products += 1
        if self._pullback is None:
            u = torch.zeros_like(self.value, requires_grad=True)
            if self._field.requires_grad:
                pulled = torch.autograd.grad(self._field, self._all, u, create_graph=True, materialize_grads=True)
                self._pullback = u, _flat(pulled)
            else:
                self._pullback = u, torch.zeros_like(self.value)
        u, transposed = self._pullback
        return _product(transposed, [u], v)

    def hessian(self, player: str, v: Tensor) -> Tensor:
        """The Hessian of the player's own objective in its own parameters, times ``v``."""
        self.products += 1
        return _product(self._parts[player], self._parameters[player], v)


def _product(outputs: Tensor, inputs: Sequence[Tensor], v: Tensor) -> Tensor:
    between_batches()
    if not outputs.requires_grad:
        return torch.zeros(sum(t.numel() for t in inputs), dtype=v.dtype, device=v.device)
    return _flat(torch.autograd.grad(outputs, inputs, v, retain_graph=True, materialize_grads=True))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
