"""A training run from its config to its last step, once all processes can begin the same one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from gantrain.compute import memory
from gantrain.compute.compile import Arithmetic
from gantrain.config.loading import resolved
from gantrain.distributed.environment import check_gpus, check_processes, expected_processes
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import joined
from gantrain.errors import UserError
from gantrain.runs.folder import prepare_folder, require_same_config, require_startable
from gantrain.train.trainer import Trainer


def train(config: Any, resume: bool = False, overwrite: bool = False, processes: int | None = None) -> Path:
    """Train the game that ``config`` describes and return the run's folder.

    Args:
        config: a validated training config.
        resume: go on from the newest whole checkpoint of the run, where there is one.
        overwrite: delete an earlier run of the same name.
        processes: the number of processes asked for on the command line.

    Raises:
        UserError: the parts do not fit together, the run exists, fewer processes started than were asked for, or the
            training diverged or needs more memory than there is.
    """
    cpu = config.run.device == "cpu" or not torch.cuda.is_available()
    trainer = None
    with (
        joined(cpu) as accelerator,
        threads(config.run.threads),
        Arithmetic(config.run).in_force(),
        memory.out_of_memory(
            lambda: "before the first step" if trainer is None else f"step {trainer.step}",
            lambda: memory.of_training(config, accelerator.num_processes),
        ),
    ):
        everyone = Processes.launched()
        folder, first = Path(config.run.folder) / config.run.name, accelerator.is_main_process
        with everyone.raise_on_all():
            _check_machine(config, accelerator, cpu, processes)
            if first:
                require_startable(folder, config, resume, overwrite)
        everyone.compare_with_first(lambda: resolved(config) | {"device": accelerator.device.type}, require_same_config)
        with everyone.raise_on_all():
            trainer = Trainer(config, accelerator)
        everyone.compare_with_first(trainer.fingerprint, _check_data)
        with everyone.raise_on_all():
            if first:
                prepare_folder(folder, config, resume, overwrite)
        try:
            trainer.start(resume)
            trainer.run()
        finally:
            trainer.close()
    return trainer.folder


def _check_machine(config: Any, accelerator: Accelerator, cpu: bool, processes: int | None) -> None:
    if config.run.device == "cuda" and cpu:
        raise UserError("run.device: cuda was asked for, but this machine has no usable GPU; use auto or cpu")
    check_processes(expected_processes(processes, config), accelerator.num_processes)
    if not cpu:
        check_gpus(accelerator.local_process_index, torch.cuda.device_count())


def _check_data(here: str, first: str) -> None:
    if here != first:
        raise UserError(f"data: {here}, and in the first process {first}; all hosts need the same data")


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let torch use that many CPU threads, then as many as before; None changes nothing."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
