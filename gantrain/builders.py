"""Builds the objects that a config names: game, learners, batches, outer loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from gantrain.compute.memory import out_of_memory
from gantrain.config.parts import (
    Part,
    PlayerSection,
    build,
    game_players,
    part_arguments,
    part_class,
    part_maker,
    part_name,
    player_arguments,
)
from gantrain.config.schedules import Schedule, schedules_in
from gantrain.config.schema import Config
from gantrain.config.user_code import UserCode, described
from gantrain.data.batch import Batches
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.data.storage import place_samples
from gantrain.distributed.processes import Processes
from gantrain.distributed.sync_batch_norm import synchronise_batch_norm
from gantrain.errors import UserError
from gantrain.games.base import Game, require_playable
from gantrain.models.freezing import freeze
from gantrain.optim.ema import EMA
from gantrain.optim.optimizers import make_optimizer, make_scheduler
from gantrain.optim.scheduled import ScheduledNumbers
from gantrain.outer.base import Outer
from gantrain.outer.learner import Learner
from gantrain.sharpness.base import Oracle
from gantrain.utils.kept import kept
from gantrain.utils.seeding import derive


def make_data(config: Config) -> DataSet:
    """The training data set, before :func:`make_batches` places its samples.

    A process that trains several runs keeps it for the next run, with the samples where they are.
    """
    section = config.data
    with out_of_memory(lambda: "data", lambda: "for the samples; take fewer or smaller ones"):
        key = section.part, section.storage, config.run.device
        data: DataSet = kept("data", key, lambda: build("data", section.part))
    return data


def make_batches(config: Config, data: DataSet, processes: Processes, device: torch.device) -> Batches:
    """The batches of a run. The samples of ``data`` are moved to the place that the config names.

    Args:
        config: the whole config.
        data: the training data set.
        processes: the processes that share each batch.
        device: the device of the batches.
    """
    place_samples(data, config.data.storage, device)
    return Batches(
        data,
        config.data.batch_size,
        config.run.seed,
        processes.rank,
        processes.world_size,
        device,
        config.data.accumulation,
        config.data.workers,
        config.run.timeout,
    )


def make_game(
    config: Config,
    data: DataSet | DataSpec,
    device: torch.device | str = "cpu",
    synchronise: Processes | None = None,
    saved: bool = False,
    begin: Callable[[Game], None] | None = None,
) -> Game:
    """The game of a training config, its networks initialised from the run's seed alone.

    Args:
        config: the whole config.
        data: the training data set, whose spec the networks must fit. For a game whose objectives will not be computed
            the spec is enough; where the game's own further data are gone, others take their place, without content.
        device: the device of the networks. They are initialised on the CPU, so that they begin alike on every device.
        synchronise: the processes over whose whole batch batch norm takes its statistics; with None each process takes
            its own.
        saved: whether a checkpoint will be loaded, which holds the constants that the game measures on the data.
        begin: is given the game before it measures anything, and may give the networks other weights; default none.

    Raises:
        UserError: a part does not fit the others.
    """
    return game_of(config.game, config.run.seed, data, device, synchronise, saved, begin)


def game_of(
    part: Part,
    seed: int,
    data: DataSet | DataSpec,
    device: torch.device | str = "cpu",
    synchronise: Processes | None = None,
    saved: bool = False,
    begin: Callable[[Game], None] | None = None,
) -> Game:
    """The game of a config's validated section ``game``; see :func:`make_game`.

    Args:
        part: the section.
        seed: the seed from which the networks are initialised.
        data, device, synchronise, saved, begin: as for :func:`make_game`.

    Raises:
        UserError: a part does not fit the others.
    """
    cls = part_class(part)
    data_spec = data if isinstance(data, DataSpec) else data.spec
    networks: dict[str, nn.Module] = {}
    given: dict[str, Any] = {}
    for argument, players in player_arguments(part).items():
        for player, section in players.items():
            with UserCode("game", cls):
                spec = cls.spec_for_network(player, data_spec, part_arguments(part), networks)
            if not isinstance(spec, DataSpec):
                raise UserError(f"game: {cls.__name__}.spec_for_network: expected a DataSpec, got {described(spec)}")
            key = f"{_key(part, argument, player)}.model"
            network = _seeded(player, section.model, spec, seed, key)
            require_playable(network, key)
            freeze(network, section.freeze, f"{_key(part, argument, player)}.freeze")
            if synchronise is not None:
                network = synchronise_batch_norm(network, synchronise)
            networks[player] = network.to(device)
        many = {player: networks[player] for player in players}
        given[argument] = many if _is_group(part, argument) else networks[argument]
    if "spec" in inspect.signature(part_maker(part)).parameters:
        given["spec"] = data_spec
    if isinstance(data, DataSpec):
        given |= _further_data(part, data)
    with torch.random.fork_rng(devices=[]):  # a game may make networks beside those that it is given
        torch.default_generator.manual_seed(derive(seed, "initialisation/game", 0))
        game = _built(part, cls, given)
    _require_players(game, part, cls)
    if begin is not None:
        begin(game)
    if not saved and not isinstance(data, DataSpec):
        game.measure(data)
    return game


def _built(part: Part, cls: type, given: dict[str, Any]) -> Game:
    try:
        game: Game = build("game", part, given=given)
    except UserError as error:
        # A player does not know whose it is.
        raise UserError(f"game: {cls.__name__}: {error}" if str(error).startswith("player ") else str(error)) from error
    return game


def _require_players(game: Game, part: Part, cls: type) -> None:
    """Refuse a game whose players are not those of its constructor, or which names no network to evaluate."""
    if not hasattr(game, "players"):
        raise UserError(
            f'game: {cls.__name__}.__init__: expected a call super().__init__([gt.Player("NAME", NAME), …]), which '
            "passes the players in the order in which they move"
        )
    if set(game.players) != set(game_players(part)):
        raise UserError(
            f"game: {cls.__name__}: the players are {', '.join(game.players)}, and the constructor's arguments that "
            f"are annotated as networks of players are {', '.join(game_players(part)) or 'none'}; call them alike"
        )
    with UserCode("game", cls):
        player, network = game.evaluated_player, game.evaluated_network
    if player not in game.players:
        raise UserError(
            f"game: {cls.__name__}.evaluated_player: expected one of {', '.join(game.players)}, got {described(player)}"
        )
    if not isinstance(network, nn.Module):
        raise UserError(
            f"game: {cls.__name__}.evaluated_network: expected a network of a player's, or self.everyone, got "
            f"{described(network)}"
        )


def _further_data(game: Part, spec: DataSpec) -> dict[str, DataSet]:
    """The data sets that a game takes, by argument; in place of one that is gone, one without content, of this spec."""
    found = {}
    for key, value in part_arguments(game).items():
        if isinstance(value, Part) and value.part_kind == "data":
            try:
                found[key] = build("data", value, key=f"game.{key}")
            except UserError:
                labels = torch.zeros(2, dtype=torch.int64) if spec.classes else None
                found[key] = DataSet(spec.zeros(2), labels, spec)
    return found


def make_learners(config: Config, game: Game) -> tuple[list[Learner], dict[str, LRScheduler]]:
    """The learners, in the order in which their players move, and the learning-rate schedulers by player."""
    learners, schedulers = [], {}
    sections = player_sections(config.game)
    for name, player in game.players.items():
        key, section = sections[name]
        optimizer = make_optimizer(section.optimizer, player.module, f"{key}.optimizer")
        oracle = _instance(build("sharpness", section.sharpness, key=f"{key}.sharpness"), Oracle, f"{key}.sharpness")
        constraint = build("constraint", section.constraint, key=f"{key}.constraint")
        # Optimizers of torch know no simplex; one of the user's own may.
        if getattr(player.module, "mixed", False) and constraint is None and type(optimizer).__module__[:5] == "torch":
            raise UserError(
                f"{key}.optimizer: {type(optimizer).__name__} leaves the simplex, on which a mixed strategy lies; use "
                "mirror, or add constraint: simplex or model: softmax"
            )
        clip = section.clip.at_key(f"{key}.clip") if isinstance(section.clip, Schedule) else section.clip
        learners.append(Learner(player, optimizer, oracle, constraint, clip))
        scheduler = make_scheduler(section.scheduler, optimizer, f"{key}.scheduler")
        if scheduler is not None:
            schedulers[name] = scheduler
    return learners, schedulers


def make_outer(config: Config) -> Outer:
    """The outer loop of a run."""
    outer: Outer = _instance(build("outer", config.outer), Outer, "outer")
    return outer


def make_averages(config: Config, network: nn.Module) -> list[EMA]:
    """The averages of the weights of a network that the config asks for."""
    return [EMA(network, **dict(section)) for section in config.averages]


def require_followed(config: Config, numbers: ScheduledNumbers) -> None:
    """Refuse a schedule of the config that changes nothing, since the part does not keep the number as it is given.

    Raises:
        UserError: there is one; the message names its key.
    """
    for path, owner in schedules_in(config):
        key = ".".join(map(str, path))
        if key not in numbers:
            name = next(str(part) for part in reversed(path) if isinstance(part, str))
            part = part_name(owner) if isinstance(owner, Part) else key
            raise UserError(
                f"{key}: {part} reads the number only when it is made, so that it cannot follow a schedule; give a "
                f"number, or keep it as it is given in a part of your own (self.{name} = {name})"
            )


def player_sections(game: Part) -> dict[str, tuple[str, PlayerSection]]:
    """The key of each player's section in the config, and the section."""
    return {
        name: (_key(game, argument, name), section)
        for argument, players in player_arguments(game).items()
        for name, section in players.items()
    }


def _is_group(game: Part, argument: str) -> bool:
    """Whether an argument of a game maps names to players, and is no player itself."""
    return not isinstance(part_arguments(game)[argument], PlayerSection)


def _key(game: Part, argument: str, player: str) -> str:
    """The key of a player's section in the config."""
    return f"game.{argument}.{player}" if _is_group(game, argument) else f"game.{argument}"


def _instance(part: Any, cls: type, key: str) -> Any:
    if part is not None and not isinstance(part, cls):
        raise UserError(f"{key}: expected an instance of {cls.__module__}.{cls.__name__}, got {described(part)}")
    return part


def _seeded(name: str, spec: Any, data_spec: DataSpec, seed: int, key: str) -> nn.Module:
    """A player's network, initialised from the seed and the player's name."""
    kind = spec.part_kind if isinstance(spec, Part) else name
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, f"initialisation/{name}", 0))
        with out_of_memory(lambda: key, lambda: "for the network; choose a smaller one"):
            try:
                network = build(kind, spec, data_spec, key=key)
            except UserError as error:
                # What a strategy says of its own key stands below the strategy's.
                raise UserError(f"{key}.{error}" if str(error).startswith("start: ") else str(error)) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{key}: expected an nn.Module, got {type(network).__name__}")
    if "_modules" not in vars(network):
        raise UserError(f"{key}: the constructor of {type(network).__name__} must begin with super().__init__()")
    return network
