"""The report of a dry run as plain data."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from gantrain.commands import r1_weight
from gantrain.commands.trial import folder_of, frozen_parameters, space, tensor_bytes
from gantrain.config.clock import in_words
from gantrain.config.loading import resolved
from gantrain.config.schema import Config
from gantrain.config.sections import TENSORBOARD
from gantrain.data.storage import describe_samples, size_in_bytes
from gantrain.games.penalties import R1
from gantrain.runs.summary import summarise
from gantrain.sharpness.base import Plain
from gantrain.train.looking_back import CURVES
from gantrain.train.measurement import Measurement
from gantrain.train.trainer import Trainer


def described(
    config: Config,
    trainer: Trainer,
    found: Measurement,
    earlier: tuple[str, str] | None,
    bare: int,
    resume: bool,
    left_out: list[str],
) -> dict[str, Any]:
    """The report on a run as plain data.

    Args:
        config: the config of the run.
        trainer: the trainer that was measured, in a folder of its own.
        found: the measurement.
        earlier: what lies in the run's folder, as :func:`~gantrain.commands.trial.earlier_run` says it.
        bare: the bytes of memory that the process had before the run was built.
        resume: whether the run goes on from its newest checkpoint.
        left_out: what is not part of the measurement.
    """
    folder = folder_of(config)
    before = None if earlier is None else summarise(folder)
    after = before.step or 0 if before is not None and resume else 0
    began = found.ready - psutil.Process().create_time()
    room, state, batches = space(trainer, folder), trainer.state(), trainer.batches
    names = list(trainer.game.players)
    totals = [o.total(found.steps, after) for o in found.occasions]
    left = max(0, found.steps - after)
    return {
        "run": {
            "name": config.run.name,
            "game": type(trainer.game).__name__,
            "outer": " over ".join(_names(resolved(config)["outer"])),
            "seed": config.run.seed,
            "precision": config.run.precision,
            "device": _device_name(trainer.device),
            "processes": trainer.processes.world_size,
        },
        "players": [
            {
                "name": learner.name,
                "network": type(learner.player.module).__name__,
                "parameters": sum(p.numel() for p in learner.parameters),
                "frozen": frozen_parameters(learner.player.module),
                "init": str(trainer.initial[name]) if name in trainer.initial else None,
                "optimizer": type(learner.optimizer).__name__,
                "lr": learner.step_size,
                "scheduler": type(trainer.schedulers[name]).__name__ if name in trainer.schedulers else None,
                "sharpness": None if type(learner.oracle) is Plain else type(learner.oracle).__name__,
                "gradient_evaluations": found.gradients[learner.name],
            }
            for name, learner in zip(names, trainer.learners, strict=True)
        ],
        "averages": [{"of_player": trainer.game.evaluated_player, **average} for average in _averages(config)],
        "data": {
            "samples": describe_samples(batches.samples, batches.workers).removeprefix("data: "),
            "batch_size": batches.batch_size,
            "workers": batches.workers,
        },
        "r1": _weights_of_r1(trainer),
        "memory": {
            "networks": sum(tensor_bytes(state[name]) for name in names),
            "gradients": sum(p.nbytes for learner in trainer.learners for p in learner.parameters),
            "optimizers": sum(tensor_bytes(state[f"optimizer.{name}"]) for name in names),
            "average": sum(tensor_bytes(average.state_dict()) for average in trainer.averages.values()),
            "method": tensor_bytes([state["field"], state["outer"]]),
            "samples": size_in_bytes(batches.samples) if isinstance(batches.samples, Tensor) else 0,
            "process_before": bare,
            "process_peak": max(bare, _peak()),  # the system counts the two apart, and both with some lag
            "gpu_peak": torch.cuda.max_memory_allocated(trainer.device) if trainer.device.type == "cuda" else None,
        },
        "step": {
            "seconds": found.seconds,
            "measured": found.measured,
            "samples_per_second": found.draws * batches.batch_size / found.seconds,
        },
        "budget": {
            **{key: value for key in ("steps", "gradients", "kimg") if (value := getattr(config.run, key)) is not None},
            "total_steps": found.steps,
            "steps_taken": after,
            "steps_left": left,
        },
        "time": {
            "total": began + left * found.seconds + sum(totals),
            "start": began,
            "steps": left * found.seconds,
            "occasions": [
                {
                    "name": o.name,
                    "every": o.every,
                    "seconds": o.seconds,
                    "more_at_first": o.more_at_first,
                    "times": o.times(found.steps, after),
                    "total": total,
                }
                for o, total in zip(found.occasions, totals, strict=True)
            ],
            "not_included": left_out + [o.name for o in found.occasions if o.seconds is None],
        },
        "disk": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(room).items()},
        "folder": {
            "path": str(folder),
            "held_by": before.holder if before is not None and before.holder else None,
            "earlier_run": None if earlier is None else earlier[0],
            "advice": None if earlier is None else earlier[1],
        },
        "watch": f"tensorboard --logdir {folder.parent}" if TENSORBOARD in trainer.log_settings.to else None,
        "writes": _writes(trainer, folder),
    }


def _averages(config: Config) -> list[dict[str, Any]]:
    """The averages as the config has them, without the keys that are not set."""
    return [
        {key: value for key, value in resolved(average).items() if value is not None and value is not False}
        for average in config.averages
    ]


def _weights_of_r1(trainer: Trainer) -> list[dict[str, Any]]:
    """The weight of each R1 of a game on images, and what a rule of thumb would take."""
    spec, batch = trainer.batches.spec, trainer.batches.batch_size
    if not spec.image:
        return []
    _, height, width = spec.shape
    rule = {
        "start": r1_weight.starting_weight(height, width, batch),
        "comparison": r1_weight.in_words(height, width, batch),
    }
    penalties = getattr(trainer.game, "penalties", ())
    return [{"weight": penalty.weight, **rule} for penalty in penalties if isinstance(penalty, R1)]


def _names(outer: Any) -> Iterator[str]:
    """The names of an outer loop and of the loops inside it, from its section of the config."""
    while isinstance(outer, dict):
        yield outer.get("name") or outer["target"]
        outer = outer.get("base")


def _writes(trainer: Trainer, folder: Path) -> dict[str, str]:
    """What a run writes: the paths, and what lies there."""
    keep, every = trainer.checkpoint_settings.keep, in_words(trainer.checkpoint_settings.every)
    logged = in_words(trainer.log_settings.every)
    names = trainer.trackers.names
    events = ", and as TensorBoard events" if TENSORBOARD in trainer.log_settings.to else ""
    also = events + (f"; they are sent to {', '.join(names)}" if names else "")
    found = {
        str(folder / "config.yaml"): "the resolved config",
        str(folder / "metrics.jsonl"): f"scalars, every {logged}{also}",
    }
    if trainer.log_settings.curves:
        found[str(folder / CURVES)] = "the scalars over the steps, at the end"
    for callback in trainer.callbacks:
        for name, content in callback.writes.items():
            found[str(folder / name)] = f"{content}, every {in_words(callback.every)}"
    found[str(folder / "step_N")] = f"checkpoints, every {every} and at the end; the newest {keep} are kept"
    # A callback of the user's own may say nothing about what it returns.
    returned = [type(callback).run.__annotations__.get("return", "") for callback in trainer.callbacks]
    if any(annotation not in (None, "None", "str | None") for annotation in returned):
        found[str(folder / "best")] = "the checkpoint of the best evaluation"
    return found


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
