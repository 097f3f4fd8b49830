"""From a config to the parts that it names: data, game, learners, outer loop."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from gantrain.config.parts import build
from gantrain.data.channel_norm import ChannelNorm
from gantrain.data.spec import DataSpec
from gantrain.distributed.processes import Processes
from gantrain.distributed.sync_batch_norm import synchronise_batch_norm
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.games.classification import Classification
from gantrain.games.gan import GAN
from gantrain.optim.optimizers import make_optimizer, make_scheduler
from gantrain.outer.learner import Learner
from gantrain.utils.seeding import derive


def make_game(
    config: Any,
    data: Any,
    device: torch.device | str = "cpu",
    synchronise: Processes | None = None,
    saved: bool = False,
) -> Game:
    """The game of a training config, its networks initialised from the run's seed alone.

    Args:
        config: the whole config.
        data: the data set, whose spec the networks must fit.
        device: where the networks live; they are initialised on the CPU, so that every device begins alike.
        synchronise: the processes over which batch norm is taken together; None leaves each to itself.
        saved: whether a checkpoint will be loaded, which holds what is otherwise measured on the data.
    """
    game = config.game

    def network(player: str, spec: DataSpec) -> nn.Module:
        made = _seeded(player, getattr(game, player).model, spec, config.run.seed)
        return (made if synchronise is None else synchronise_batch_norm(made, synchronise)).to(device)

    augmentations = [build("augmentation", augmentation) for augmentation in game.augmentations]
    if game.name == "classification":
        classifier = network("classifier", data.spec)
        if game.standardise:
            standardise = _standardisation(data, saved).to(device)
            classifier = nn.Sequential(OrderedDict(standardise=standardise, network=classifier))
        return Classification(
            classifier,
            game.label_smoothing,
            augmentations,
            data.spec,
        )
    spec = data.spec if game.conditional else data.spec.unconditional()
    return GAN(
        network("generator", spec),
        network("discriminator", spec),
        loss=build("loss", game.loss),
        penalties=[build("penalty", penalty) for penalty in game.penalties],
        augmentations=augmentations,
        conditional=game.conditional,
        spec=data.spec,
    )


def make_learners(config: Any, game: Game) -> tuple[list[Learner], dict[str, Any]]:
    """A learner for each player in the order in which they move, and the schedulers by player."""
    learners, schedulers = [], {}
    for name, player in game.players.items():
        parts = getattr(config.game, name)
        key = f"game.{name}"
        optimizer = make_optimizer(parts.optimizer, player.module, f"{key}.optimizer")
        learners.append(
            Learner(player, optimizer, build("sharpness", parts.sharpness), build("constraint", parts.constraint))
        )
        if parts.scheduler is not None:
            schedulers[name] = make_scheduler(parts.scheduler, optimizer, f"{key}.scheduler")
    return learners, schedulers


def _standardisation(data: Any, saved: bool) -> ChannelNorm:
    if data.spec.vocabulary:
        raise UserError("game.standardise: these data are tokens, not numbers; leave it away")
    channels = data.spec.shape[0]
    return ChannelNorm(torch.zeros(channels), torch.ones(channels)) if saved else ChannelNorm.of(data)


def _seeded(name: str, spec: Any, data_spec: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, f"initialisation/{name}", 0))
        network = build(name, spec, data_spec)
    if not isinstance(network, nn.Module):
        raise UserError(f"game.{name}.model: expected an nn.Module, got {type(network).__name__}")
    return network
