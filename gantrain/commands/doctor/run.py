"""The checks of a config: its run is built as ``gantrain train`` builds it and takes a step, all in memory."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

from gantrain.commands.doctor.findings import Finding, TooLong, refusals
from gantrain.commands.network import answers, offline
from gantrain.commands.trial import earlier_run, existing, folder_of, frozen_parameters, space, without_metrics
from gantrain.config.schema import Config
from gantrain.distributed.environment import cores, distributed
from gantrain.errors import UserError

# Samples on disk that are read, spread over the data set.
_SAMPLED = 64


def device(config: Config) -> Iterator[Finding]:
    """Whether the device and the processes that the config asks for are there."""
    import torch

    from gantrain.compute.device import find_device

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cpu = config.run.device == "cpu" or not gpus
    processes, threads = config.run.processes or 1, config.run.threads or 1
    try:
        find_device(config.run.device, "run.device")
    except UserError as error:
        yield Finding("FAIL", "device", str(error), "run.device=auto takes what there is")
        return
    place = "the CPU" if cpu else "a GPU each" if processes > 1 else "one GPU"
    text = f"{processes} process{'es' if processes > 1 else ''} on {place}, {config.run.precision}"
    if processes > 1 and not distributed() and (cpu or processes <= gpus):
        text += f"; start them with gantrain train --processes {processes}"
    if processes * threads > cores() and (cpu or threads > 1):
        text += f": {processes * threads} threads for {cores()} cores"
        yield Finding("note", "device", text, "lower run.processes or run.threads")
    elif not cpu and processes > gpus:
        text += f": this host shows {gpus} GPU{'s' if gpus > 1 else ''}"
        yield Finding("note", "device", text, "start the rest on other hosts, or with a GPU of their own")
    elif not cpu and config.run.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        yield Finding("note", "device", f"{text}: this GPU emulates bf16, slowly", "run.precision=fp16")
    else:
        yield Finding("ok", "device", text)


def folder(config: Config) -> Iterator[Finding]:
    """Whether the run's folder is free, and can be written."""
    from gantrain.runs.lock import holder

    place = folder_of(config)
    elsewhere = "choose another run.name or run.folder, or mend its permissions"
    try:
        earlier = earlier_run(config)
    except UserError as error:
        yield Finding("FAIL", "folder", str(error), elsewhere)
        return
    held = holder(place)
    if held is not None:
        yield Finding("FAIL", "folder", f"{place}: {held} writes into it", "stop it, or run.name=NEW")
        return
    parent = existing(place)
    try:
        # A file without a name: nothing is left, even if this process is killed.
        with tempfile.TemporaryFile(dir=parent) as stream:
            stream.write(b"0")
            stream.flush()
        if not os.access(parent, os.X_OK):
            raise PermissionError(0, "cannot be entered")
    except OSError as error:
        yield Finding("FAIL", "folder", f"{parent}: cannot be written: {error.strerror or error}", elsewhere)
        return
    if earlier is None:
        yield Finding("ok", "folder", f"{place} is free, and {parent} can be written")
    else:
        yield Finding("note", "folder", *earlier)


def first_step(config: Config) -> Iterator[Finding]:
    """The run built as the command builds it, its data read, and one training step taken."""
    from gantrain.train.trainer import Trainer

    with offline() as hosts, ExitStack() as built:
        trainer: Trainer | None = None
        said: set[Finding] = set()
        metrics = "metrics" in config.game_callbacks
        for attempt in (config, without_metrics(config)) if metrics else (config,):
            try:
                trainer = built.enter_context(_built(attempt))
                break
            except UserError as error:
                found = list(_missing(error, hosts, attempt) if hosts else refusals(error, "run"))
                yield from (finding for finding in found if finding not in said)
                said |= set(found)
                if not hosts:
                    return
                hosts.clear()
        if trainer is None:
            return
        yield from _data(trainer)
        yield from _networks(trainer)
        try:
            yield from _step(trainer)
        except TooLong:
            slow = "the first step has not ended in time; on this device the run will be slow"
            yield Finding("note", "step", slow, "raise --timeout, or try a smaller network or batch")
            return
        yield from _space(trainer)


@contextmanager
def _built(config: Config) -> Iterator[Any]:
    """The trainer of a config, within what ``gantrain train`` computes in, for one process."""
    import torch

    from gantrain.commands.train import make_trainer
    from gantrain.compute.compile import temporary_cache, uncompiled
    from gantrain.distributed.rendezvous import process_group

    cpu = config.run.device == "cpu" or not torch.cuda.is_available()
    with ExitStack() as entered:
        if config.run.compile:
            entered.enter_context(temporary_cache())
        place = torch.device("cpu" if cpu else "cuda")
        if not distributed():
            place = entered.enter_context(process_group(cpu, config.run.timeout)).device
        trainer = make_trainer(config, place)
        entered.enter_context(closing(trainer.batches))
        entered.enter_context(trainer.computing())
        if config.run.compile:  # make_trainer has tried the compiler
            entered.enter_context(uncompiled())
        yield trainer


def _missing(error: UserError, hosts: list[str], config: Config) -> Iterator[Finding]:
    """A part that is not on this machine: a run downloads it, if its host answers."""
    names = dict.fromkeys(hosts)
    silent = [host for host in names if not answers(host)]
    for finding in refusals(error, "evaluate" if "metrics" in config.game_callbacks else "data"):
        if silent:
            yield replace(finding, text=f"{finding.text}; {', '.join(silent)} does not answer")
        else:
            text = f"{finding.text}; gantrain train downloads it from {', '.join(names)}, which answers"
            yield Finding("note", finding.subject, text, "what depends on it was left out; ask again once it is here")


def _data(trainer: Any) -> Iterator[Finding]:
    import torch

    from gantrain.data.digest import spread
    from gantrain.data.storage import describe_samples

    batches = trainer.batches
    samples, spec = batches.samples, batches.spec
    if not isinstance(samples, torch.Tensor):
        samples[spread(len(samples), _SAMPLED)].to("cpu")
    batch = batches(0, 0)
    if batch.real.is_floating_point() and not bool(batch.real.isfinite().all()):
        yield Finding("FAIL", "data", "data: the first batch is not finite", "mend or remove the samples with NaN")
        return
    if spec.empty:
        return
    classes = ", numeric labels" if spec.numeric else f", {spec.classes} classes" if spec.classes else ""
    described = describe_samples(batches.samples, batches.workers).removeprefix("data: ")
    yield Finding("ok", "data", f"{described}{classes}; a batch of {batches.batch_size} was read")


def _networks(trainer: Any) -> Iterator[Finding]:
    sizes = []
    for name, player in trainer.game.players.items():
        frozen = frozen_parameters(player.module)
        also = f" and {frozen:,} frozen ones" if frozen else ""
        sizes.append(f"{name} {sum(p.numel() for p in player.parameters):,} parameters{also}")
    yield Finding("ok", "networks", ", ".join(sizes))
    for name, each in trainer.initial.items():
        yield Finding("ok", "init", f"{name}: {each}")
    if trainer.callbacks:
        names = ", ".join(type(callback).__name__ for callback in trainer.callbacks)
        yield Finding("ok", "evaluate", f"{names} can be made")


def _step(trainer: Any) -> Iterator[Finding]:
    trainer.train_step(observe=True)
    for player, scalars in trainer.evaluator.observed.items():
        for name, value in scalars.items():
            if not bool(value.isfinite().all()):
                text = f"{name} of {player} is not finite in the first step"
                yield Finding("FAIL", "step", text, "look for NaN in the data, or lower the learning rates")
                return
    yield Finding("ok", "step", f"a training step runs on {trainer.device}")


def _space(trainer: Any) -> Iterator[Finding]:
    """Whether the disk has room for the checkpoints, the new one and the best one beside those that are kept."""
    from gantrain.data.storage import amount

    needed = space(trainer, trainer.folder)
    entries = os.statvfs(needed.place)
    text = (
        f"a checkpoint has {amount(needed.checkpoint)}, the run needs about {amount(needed.needed)} and {needed.place} "
        f"has {amount(needed.free)}"
    )
    longest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if needed.free < needed.needed:
        yield Finding("FAIL", "space", text, "free some space, choose another run.folder, or lower checkpoint.keep")
    elif entries.f_files and not entries.f_favail:
        yield Finding("FAIL", "space", f"{needed.place}: no inode is left for a file", "delete files on that disk")
    elif longest != resource.RLIM_INFINITY and longest < needed.checkpoint:
        yield Finding("FAIL", "space", f"{text}; files may have {amount(longest)}", "ulimit -f unlimited")
    else:
        yield Finding("ok", "space", text)


CHECKS = {"device": device, "folder": folder, "step": first_step}
