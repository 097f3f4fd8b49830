"""The networks of a run as callbacks see them: with the weights they ask for, whole, and left as they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from gantrain.compute.modes import Buffers
from gantrain.config.user_code import UserCode
from gantrain.distributed.sharding import whole_copy
from gantrain.games.base import Game
from gantrain.games.sharded import whole_players
from gantrain.optim.ema import EMA, with_tensors
from gantrain.outer.base import Outer, stand_ins
from gantrain.train.callbacks.base import Callback
from gantrain.utils.tensors import preserve


class Networks:
    """The networks that a run trains, and the averages of their weights.

    Args:
        game: the game, whose players have the networks.
        outer: the outer loop, which says where its anchor is.
        averages: the averages by name.
        sharded: whether the parameters are divided among the processes.
    """

    def __init__(self, game: Game, outer: Outer, averages: Mapping[str, EMA], sharded: bool):
        self.game = game
        self.outer = outer
        self.averages = averages
        self.sharded = sharded

    def evaluated(self, weights: str | None = None) -> nn.Module:
        """The game's evaluated network, with the weights that are asked for.

        Args:
            weights: the name of an average, "live" (the weights that are trained) or "anchor" (those of the last outer
                iterate). None stands for the first average if the run keeps one, and for "live" otherwise.
        """
        if weights is None:
            weights = next(iter(self.averages), "live")
        if weights in self.averages:
            return self.averages[weights].module
        anchor = self.anchor() if weights == "anchor" else {}
        network = self.game.evaluated_network
        return with_tensors(network, anchor) if anchor else network

    def anchor(self) -> dict[int, torch.Tensor]:
        """The tensors of the last outer iterate by the ``id`` of those that they stand in for; empty if that is now."""
        with UserCode("outer", self.outer):
            anchor = self.outer.anchor()
        return {} if anchor is None else stand_ins(self.game, anchor)

    @contextmanager
    def shown(self, callback: Callback, runs: bool) -> Iterator[nn.Module | None]:
        """In the block a callback can run the networks of a sharded run without the other processes.

        Args:
            callback: the callback.
            runs: whether it runs in this process.

        Yields:
            The network that the callback is given, whole; None where it does not run, or nothing is sharded.
        """
        if not self.sharded:
            yield None
            return
        network = self.evaluated(callback.weights)
        # The game's own network is made whole in place, with the others, where the callback runs the game.
        in_place = callback.runs_game and network is self.game.evaluated_network
        whole = network if in_place else whole_copy(network, runs)
        with whole_players(self.game) if callback.runs_game else nullcontext():
            yield whole if runs else None

    @contextmanager
    def unchanged(self, evaluated: nn.Module) -> Iterator[None]:
        """At the end of the block all networks have the modes and the buffers that they had before.

        Args:
            evaluated: the network that is evaluated, which may be a copy and is one of them.
        """
        modes = [(module, module.training) for each in self._all(evaluated) for module in each.modules()]
        with preserve(self.buffers(evaluated)), Buffers(self._all(evaluated)).kept():
            try:
                yield
            finally:
                for module, training in modes:
                    module.training = training

    def buffers(self, evaluated: nn.Module) -> list[torch.Tensor]:
        """The buffers of all networks and of the one that is evaluated, each once."""
        buffers = [buffer for network in self._all(evaluated) for buffer in network.buffers()]
        return list({id(buffer): buffer for buffer in buffers}.values())

    def _all(self, evaluated: nn.Module) -> list[nn.Module]:
        players = [player.module for player in self.game.players.values()]
        return [*players, *(average.module for average in self.averages.values()), evaluated]
