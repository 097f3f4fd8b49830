"""The number of processes: how many a launcher started, how many were asked for, and whether the two agree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.schema import Config


def distributed() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def expected_processes(option: int | None, config: Config) -> int | None:
    """The number of processes that were asked for, or None where the user named no number.

    The number is looked for in this order: the command line, the config, the environment of a launcher, the command
    line of ``accelerate launch``.

    Args:
        option: the number on the command line, if there is one.
        config: the run's config, whose ``run.processes`` is null or a number.
    """
    if option is not None:
        return option
    if config.run.processes is not None:
        return config.run.processes
    if distributed():
        return int(os.environ["WORLD_SIZE"])
    return _asked_of_accelerate()


def check_processes(expected: int | None, actual: int) -> None:
    """Refuse to go on with fewer or more processes than were asked for.

    Args:
        expected: the number that was asked for, or None for any.
        actual: the number of processes that run.

    Raises:
        UserError: the numbers differ.
    """
    if expected is not None and expected != actual:
        asked = "processes were" if expected > 1 else "process was"
        raise UserError(
            f"{expected} {asked} asked for, but {actual} run{'s' if actual == 1 else ''}; "
            f"start them with `gantrain train --processes {expected} CONFIG` or "
            f"`torchrun --nproc_per_node {expected} -m gantrain train CONFIG` "
            "(on CPUs, `accelerate launch` starts only one)"
        )


def check_gpus(local: int, gpus: int) -> None:
    """Refuse a process for which this host has no GPU of its own.

    Args:
        local: the process' number on this host, from 0.
        gpus: the number of GPUs of this host.

    Raises:
        UserError: the host has fewer GPUs than processes.
    """
    if local >= gpus:
        raise UserError(f"more processes than GPUs; start at most {gpus} on this host, or use run.device: cpu")


def _asked_of_accelerate() -> int | None:
    """The ``--num_processes`` of the ``accelerate launch`` that started this process; None where there is none.

    On CPUs ``accelerate launch`` starts one process whatever the number, and does not tell that process the number.
    """
    import psutil

    for parent in psutil.Process().parents():
        try:
            words = parent.cmdline()
        except psutil.Error:
            continue
        names = [os.path.basename(word) for word in words]
        if not ({"accelerate", "accelerate-launch", "accelerate.commands.launch"} & set(names[:3])):
            continue
        for word, after in zip(words, [*words[1:], ""], strict=True):
            option, equals, value = word.partition("=")
            if option.replace("-", "_") == "__num_processes":
                value = value if equals else after
                return int(value) if value.isdecimal() else None
    return None


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
