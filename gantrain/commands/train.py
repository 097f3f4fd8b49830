"""The train command: a run from its config to its last step, once all processes can begin the same one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from gantrain.builders import (
    make_averages,
    make_batches,
    make_data,
    make_game,
    make_learners,
    make_outer,
    player_sections,
    require_followed,
)
from gantrain.compute import memory
from gantrain.compute.allocator import keep_freed_memory
from gantrain.compute.compile import Arithmetic
from gantrain.compute.compiler_import import postpone_compiler
from gantrain.compute.device import find_device
from gantrain.compute.threads import threads
from gantrain.config.launch_settings import ignored
from gantrain.config.loading import resolved
from gantrain.config.schema import Config
from gantrain.distributed.agreement import require_agreement
from gantrain.distributed.environment import check_processes, expected_processes
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.distributed.store import begun_earlier
from gantrain.errors import NotFound, Notice
from gantrain.games.base import Game
from gantrain.games.sharded import shard_players
from gantrain.runs.about import About, Source
from gantrain.runs.checkpoint_files import found
from gantrain.runs.folder import is_run, require_available, require_same_config
from gantrain.runs.initial import Initial, initialised
from gantrain.runs.saved import MOVED
from gantrain.train.callbacks.factory import make_callbacks
from gantrain.train.trainer import Trainer
from gantrain.utils.shared_work import sharing


def train(
    config: Config,
    resume: bool = False,
    overwrite: bool = False,
    processes: int | None = None,
    accept_data: bool = False,
    trust: bool = False,
    command: Sequence[str] | None = None,
    source: Source | None = None,
) -> Path:
    """Train the game that ``config`` describes and return the run's folder.

    If a launcher such as torchrun has started all processes anew, a run that they had begun goes on.

    Args:
        config: a validated training config.
        resume: go on from the newest whole checkpoint of the run, where there is one.
        overwrite: delete an earlier run of the same name.
        processes: the number of processes asked for on the command line.
        accept_data: whether a resumed run may go on with other data than it began with.
        trust: whether the run that the features of evaluations come from is opened though it names code outside
            gantrain and was not trained here.
        command: the words of the command that resumes this run, which are shown at its end; None if they are not known.
        source: where the config comes from, as TensorBoard shows it.

    Raises:
        UserError: the parts do not fit together, the run exists, fewer processes started than were asked for, or the
            training diverged or needs more memory than there is.
    """
    with joined(config, processes) as (everyone, device):
        folder = Path(config.run.folder) / config.run.name
        if everyone.broadcast_object(everyone.rank == 0 and begun_earlier(folder)):
            resume, overwrite = True, False
        with everyone.raise_on_all():
            if everyone.rank == 0:
                require_available(folder, resolved(config), resume, overwrite)
        with everyone.sharing():
            try:
                begins = not (resume and found(folder))
                trainer = make_trainer(config, device, trust=trust, begins=begins, source=source)
            except NotFound as error:
                raise NotFound(f"{error}; {MOVED}") if resume and is_run(folder) else error from error
        trainer.command = command
        trainer.begun = psutil.Process().create_time()
        return trainer.fit(resume, overwrite, accept_data)


@contextmanager
def joined(config: Config, processes: int | None = None) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes of a run for the block, which gets them and the device of this process.

    Args:
        config: a validated training config.
        processes: the number of processes asked for on the command line.

    Raises:
        UserError: this machine has not what the config asks for, fewer processes started than were asked for, or they
            have different configs, other software, or the same GPU.
    """
    postpone_compiler()
    keep_freed_memory(config.run.sharding == "none")
    cpu = config.run.device == "cpu" or not torch.cuda.is_available()
    with process_group(cpu, config.run.timeout) as state:
        everyone, device = Processes.launched(), state.device
        with everyone.raise_on_all():
            find_device(config.run.device, "run.device")
            check_processes(expected_processes(processes, config), everyone.world_size)
        require_agreement(everyone, device)
        everyone.compare_with_first(lambda: resolved(config) | {"device": device.type}, require_same_config)
        line = ignored(config, device.type == "cpu")
        if line is not None:
            warnings.warn(line, Notice, stacklevel=3)
        yield everyone, device


def make_trainer(
    config: Config,
    device: torch.device,
    kind: type[Trainer] = Trainer,
    trust: bool = False,
    begins: bool = True,
    source: Source | None = None,
) -> Trainer:
    """The trainer that a config describes, in processes that have joined.

    Args:
        config: a validated training config.
        device: on which this process trains.
        kind: the class of the trainer.
        trust: as in :func:`train`.
        begins: whether networks that begin with the weights of another run get them; else a checkpoint will be loaded.
        source: as in :func:`train`.

    Raises:
        UserError: the parts do not fit together, or need more memory than there is; or the weights of another run
            cannot be had.
    """
    everyone = Processes.launched(config.run.timeout)
    data, run = config.data, config.run
    many = everyone.world_size
    advice = memory.training_advice(data.batch_size, data.accumulation, run.precision, many, run.sharding)
    with threads(run.threads), memory.out_of_memory(lambda: "before the first step", lambda: advice):
        dataset = make_data(config)
        batches = make_batches(config, dataset, everyone, device)
        synchronise = everyone if everyone.world_size > 1 and run.batch_norm == "sync" else None
        initial: dict[str, Initial] = {}

        def begin(game: Game) -> None:
            for name, (key, section) in player_sections(config.game).items():
                if section.init is not None:
                    module = game.players[name].module
                    with sharing(None):  # the other processes do not read
                        initial[name] = initialised(module, section.init, name, f"{key}.init")

        # All processes take over the weights of the first before the first step.
        reads = begins and everyone.rank == 0
        game = make_game(config, dataset, device, synchronise, begin=begin if reads else None)
        # Before the optimizers and the average are made, which take over the layout of the weights.
        networks = [player.module for player in game.players.values()]
        Arithmetic(run, device, everyone.world_size).prepare(networks, dataset.spec.shape)
        callbacks = make_callbacks(config, game, dataset, device, trust)
        shard_players(game, run.sharding, everyone)
        learners, schedulers = make_learners(config, game)
        trainer = kind(
            game,
            learners,
            make_outer(config),
            batches,
            run,
            schedulers=schedulers,
            ema=make_averages(config, game.evaluated_network),
            callbacks=callbacks,
            log=config.log,
            checkpoints=config.checkpoint,
            config=resolved(config),
            processes=everyone,
            initial=initial,
            about=About.config(config, source),
        )
        require_followed(config, trainer.scheduled)
        return trainer
