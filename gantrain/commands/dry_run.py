"""A dry run: what ``gantrain train`` would do, and what it would cost, measured without leaving anything behind."""

from __future__ import annotations

import datetime
import json
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from torch import Tensor

from gantrain.commands.network import offline
from gantrain.commands.train import joined, make_trainer
from gantrain.commands.trial import earlier_run, folder_of, space, tensor_bytes, without_metrics
from gantrain.compute.compile import temporary_cache
from gantrain.config.loading import resolved
from gantrain.config.schema import Config
from gantrain.data.storage import amount, describe_samples, size_in_bytes
from gantrain.errors import Notice, UserError
from gantrain.runs.summary import summarise
from gantrain.sharpness.base import Plain
from gantrain.train.measurement import Measurement, measure
from gantrain.train.trainer import Trainer


def dry_run(
    config: Config, resume: bool = False, processes: int | None = None, trust: bool = False
) -> dict[str, Any] | None:
    """Build the run of a config as training does, take steps of it, and report what the whole run costs.

    Everything that the run writes goes into a temporary folder, which is deleted. Nothing is downloaded.

    Args:
        config: a validated training config.
        resume: whether the run goes on from its newest checkpoint; then the time that is left is reported.
        processes: the number of processes asked for on the command line.
        trust: as in :func:`gantrain.commands.train.train`.

    Returns:
        The report as plain data; None in all processes but the first.

    Raises:
        UserError: the run could not be trained, or something that it needs would have to be downloaded.
    """
    bare = psutil.Process().memory_info().rss
    with ExitStack() as held:
        held.enter_context(_ended_by_signals())
        temporary = held.enter_context(tempfile.TemporaryDirectory(prefix="gantrain-dry-run-"))
        if config.run.compile:
            held.enter_context(temporary_cache())
        everyone, device = held.enter_context(joined(config, processes))
        elsewhere = config.model_copy(update={"run": config.run.model_copy(update={"folder": temporary})})
        left_out: list[str] = []
        earlier = None
        with everyone.raise_on_all():
            if everyone.rank == 0:
                earlier = earlier_run(config)
        with everyone.raise_on_all():
            trainer = _built(elsewhere, device, trust, left_out)
        found = measure(trainer)
        return _report(config, trainer, found, earlier, bare, resume, left_out) if trainer.main else None


def text(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    rows = list(_rows(report))
    width = max(len(subject) for subject, _ in rows)
    return "\n".join(f"{subject:<{width}}  {line}" for subject, line in rows)


def as_json(report: dict[str, Any]) -> str:
    """The report as JSON; sizes are in bytes, times in seconds."""
    return json.dumps(report, indent=2)


class _Ended(BaseException):
    """A signal has ended the dry run. It is no SystemExit, which would be taken for one of the user's own code."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process in an orderly way, which deletes the temporary folder."""

    def end(number: int, _frame: object) -> NoReturn:
        raise _Ended(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    changed = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in changed:
        signal.signal(number, end)
    try:
        yield
    except _Ended as ended:
        sys.exit(ended.args[0])
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _built(config: Config, device: torch.device, trust: bool, left_out: list[str]) -> Trainer:
    """The trainer; without the metrics of samples if their features would have to be downloaded."""
    with offline() as hosts, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "downloading ", Notice)  # it fails at once
        try:
            return make_trainer(config, device, trust=trust)
        except UserError as error:
            if not hosts:
                raise
            refused = error
        if "metrics" in config.callbacks:
            hosts.clear()
            try:
                trainer = make_trainer(without_metrics(config), device, trust=trust)
            except UserError as error:
                if not hosts:
                    raise
                refused = error
            else:
                left_out.append(f"evaluations, whose features are not here yet ({refused})")
                return trainer
    named = ", ".join(dict.fromkeys(hosts))
    raise UserError(f"{refused}; a dry run downloads nothing, gantrain train would ask {named}")


def _report(
    config: Config,
    trainer: Trainer,
    found: Measurement,
    earlier: tuple[str, str] | None,
    bare: int,
    resume: bool,
    left_out: list[str],
) -> dict[str, Any]:
    folder = folder_of(config)
    before = None if earlier is None else summarise(folder)
    after = before.step or 0 if before is not None and resume else 0
    began = found.ready - psutil.Process().create_time()
    room, state, batches = space(trainer, folder), trainer.state(), trainer.batches
    names = list(trainer.game.players)
    times = {o.name: o.total(found.steps, after) for o in found.occasions}
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
                "optimizer": type(learner.optimizer).__name__,
                "lr": learner.step_size,
                "scheduler": type(trainer.schedulers[name]).__name__ if name in trainer.schedulers else None,
                "sharpness": None if type(learner.oracle) is Plain else type(learner.oracle).__name__,
                "gradient_evaluations": found.gradients[learner.name],
            }
            for name, learner in zip(names, trainer.learners, strict=True)
        ],
        "average": None if config.ema is None else {"of": trainer.game.evaluated_player, "decay": config.ema.decay},
        "data": {
            "samples": describe_samples(batches.samples, batches.workers).removeprefix("data: "),
            "batch_size": batches.batch_size,
            "workers": batches.workers,
        },
        "memory": {
            "networks": sum(tensor_bytes(state[name]) for name in names),
            "gradients": sum(p.nbytes for learner in trainer.learners for p in learner.parameters),
            "optimizers": sum(tensor_bytes(state[f"optimizer.{name}"]) for name in names),
            "average": tensor_bytes(state.get("ema")),
            "method": tensor_bytes([state["field"], state["outer"]]),
            "samples": size_in_bytes(batches.samples) if isinstance(batches.samples, Tensor) else 0,
            "process_before": bare,
            "process_peak": _peak(),
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
            "total": began + left * found.seconds + sum(times.values()),
            "start": began,
            "steps": left * found.seconds,
            "occasions": [
                asdict(o) | {"times": o.times(found.steps, after), "total": times[o.name]} for o in found.occasions
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
        "writes": _writes(trainer, folder),
    }


def _names(outer: Any) -> Iterator[str]:
    """The names of an outer loop and of the loops inside it, from its section of the config."""
    while isinstance(outer, dict):
        yield outer.get("name") or outer["target"]
        outer = outer.get("base")


def _writes(trainer: Trainer, folder: Path) -> dict[str, str]:
    """What a run writes: the paths, and what lies there."""
    keep, every = trainer.checkpoint_settings.keep, trainer.checkpoint_settings.every
    found = {
        str(folder / "config.yaml"): "the resolved config",
        str(folder / "metrics.jsonl"): f"scalars, every {trainer.log_settings.every} steps, and as TensorBoard events",
    }
    for callback in trainer.callbacks:
        if type(callback).__name__ == "SampleGrid":
            found[str(folder / "samples")] = f"pictures of samples, every {callback.every} steps"
    found[str(folder / "step_N")] = f"checkpoints, every {every} steps and at the end; the newest {keep} are kept"
    if any(type(callback).__name__ != "SampleGrid" for callback in trainer.callbacks):
        found[str(folder / "best")] = "the checkpoint of the best evaluation"
    return found


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run, step, budget, spent, memory = (report[key] for key in ("run", "step", "budget", "time", "memory"))
    many = run["processes"]
    where = f"{many} process{'es' if many > 1 else ''} on {run['device']}"
    yield "run", f"{run['name']}: {run['game']} by {run['outer']}, seed {run['seed']}, {run['precision']}, {where}"
    for player in report["players"]:
        more = "".join(f", {player[key]}" for key in ("scheduler", "sharpness") if player[key])
        yield (
            player["name"],
            f"{player['parameters']:,} parameters in {player['network']}; {player['optimizer']} with "
            f"lr={player['lr']:g}{more}; gradient evaluations per step: {player['gradient_evaluations']:.4g}",
        )
    if report["average"] is not None:
        yield "average", f"of the weights of {report['average']['of']}, decay {report['average']['decay']}"
    yield "data", f"{report['data']['samples']}; batches of {report['data']['batch_size']}"
    names = {"method": "oracles and outer loop"}
    parts = [f"{names.get(key, key)} {amount(size)}" for key, size in list(memory.items())[:6] if size]
    each = " in each process" if many > 1 else ""
    yield "memory", f"{', '.join(parts)}{each}"
    if memory["gpu_peak"] is not None:
        yield "", f"at most {amount(memory['gpu_peak'])} on the GPU, with the activations"
    which, bare = "this" if many == 1 else "the first", amount(memory["process_before"])
    workers = " without its workers" if report["data"]["workers"] else ""
    yield (
        "",
        f"at most {amount(memory['process_peak'])} in {which} process{workers}; Python and torch alone have {bare}",
    )
    pace = f"{_short(step['seconds'])}, {step['samples_per_second']:.4g} samples/s"
    yield "step", f"{pace} (the median of {step['measured']} steps)"
    limits = ", ".join(f"run.{key}={value:g}" for key, value in budget.items() if key in ("steps", "gradients", "kimg"))
    taken = f", {budget['steps_taken']} of them taken" if budget["steps_taken"] else ""
    yield "budget", f"{limits}: {budget['total_steps']} steps{taken}"
    yield "time", f"about {_long(spent['total'])} on this machine, of which"
    yield "", f"{_long(spent['start'])} until the first steps are taken"
    yield "", f"{_long(spent['steps'])} for {budget['steps_left']} steps and the log"
    for occasion in spent["occasions"]:
        if occasion["seconds"] is not None and occasion["times"]:
            each = f"{occasion['times']} x {occasion['name']} of {_short(occasion['seconds'])}"
            yield "", f"{_long(occasion['total'])} for {each}, every {occasion['every']} steps"
    for what in spent["not_included"]:
        yield "", f"not included: {what}"
    disk = report["disk"]
    short = "" if disk["free"] >= disk["needed"] else ": too little, free some space"
    yield (
        "disk",
        f"a checkpoint has {amount(disk['checkpoint'])}, the run needs about {amount(disk['needed'])}; "
        f"{disk['place']} has {amount(disk['free'])} free{short}",
    )
    folder = report["folder"]
    if folder["earlier_run"] is None:
        yield "folder", f"{folder['path']} is free"
    else:
        held = f"; {folder['held_by']} writes into it" if folder["held_by"] else ""
        yield "folder", f"{folder['earlier_run']}{held}"
        yield "", folder["advice"]
    for path, what in report["writes"].items():
        yield "", f"{path}: {what}"
    yield "watch", f"tensorboard --logdir {Path(folder['path']).parent}"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _long(seconds: float) -> str:
    return _short(seconds) if seconds < 100 else str(datetime.timedelta(seconds=round(seconds)))
