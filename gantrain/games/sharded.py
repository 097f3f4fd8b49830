"""Games whose players' networks are divided among the processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gantrain.distributed.processes import Processes
from gantrain.distributed.sharding import Kind, is_sharded, mesh_of, shard, whole_in_place
from gantrain.errors import UserError
from gantrain.games.base import Game, Player
from gantrain.models.layers.spectral_norm import divide_one_by_one
from gantrain.models.strategy import Strategy


def shard_players(game: Game, kind: Kind = "full", processes: Processes | None = None) -> None:
    """Divide the networks of a game's players among the processes, in place, before their optimizers are made.

    Each process then holds a part of every parameter. All begin with the weights of the first. A strategy, which is a
    few numbers, stays whole in each process, and with one process everything does.

    Args:
        game: the game, its networks on the device on which they are trained.
        kind: "full" divides them among all processes, "hybrid" among those of each host, "none" not at all. It must be
            the ``sharding`` of the run.
        processes: the processes; by default all that were launched.

    Raises:
        UserError: with "hybrid", the hosts have different numbers of processes.
    """
    processes = processes or Processes.launched()
    device = next(iter(game.players.values())).parameters[0].device
    mesh = mesh_of(kind, processes, device)
    if mesh is None:
        return
    for player in filter(_divisible, game.players.values()):
        divide_one_by_one(player.module)
        shard(player.module, mesh, processes)
        player.take_parameters()


def require_shards(game: Game, kind: Kind, processes: Processes) -> None:
    """Refuse a game whose networks are not divided among the processes as a run says.

    Raises:
        UserError: the message says what to call.
    """
    networks = [player.module for player in game.players.values() if _divisible(player)]
    sharded = any(map(is_sharded, networks))
    if networks and processes.world_size > 1 and sharded != (kind != "none"):
        raise UserError(
            f"run.sharding: is {kind}, and the networks of the game are {'divided' if sharded else 'whole'}; call "
            "gantrain.games.shard_players(game, run.sharding) before the optimizers are made"
        )


def _divisible(player: Player) -> bool:
    """Whether the parameters of a player are divided: they are no strategy, and no numbers only."""
    return not isinstance(player.module, Strategy) and any(p.dim() for p in player.parameters)


@contextmanager
def whole_players(game: Game) -> Iterator[None]:
    """Inside the block each process has the players' networks whole, and may run them without the other processes.

    All processes must enter the block together. Nothing may step an optimizer in it.
    """
    players = game.players.values()
    try:
        with whole_in_place([player.module for player in players]):
            for player in players:
                player.take_parameters()
            yield
    finally:
        for player in players:
            player.take_parameters()
