"""The number of processes: how many a launcher started, how many were asked for, and whether the two agree."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.schema import Config


# The variables that a launcher sets in each process that it starts: those of all hosts, and those of the process' host.
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LOCAL = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
LAUNCHER = (*_NEEDED, *_LOCAL)


@dataclass(frozen=True)
class Place:
    """The place of this process among those that a launcher such as torchrun started.

    Attributes:
        rank: the process' number among all processes.
        world_size: the number of all processes.
        local_rank: the process' number on its host.
        local_world_size: the number of processes on its host.
        address: the name or address of the host of the first process.
        port: the port of that host at which the processes meet.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    port: int

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that say the same."""
        values = (self.rank, self.world_size, self.address, self.port, self.local_rank, self.local_world_size)
        return {name: str(value) for name, value in zip(LAUNCHER, values, strict=True)}


def launched_place() -> Place | None:
    """The place that a launcher gave this process in its environment, or None where no launcher started the process.

    Variables that are empty count as unset. MASTER_ADDR and MASTER_PORT by themselves mean nothing. Without LOCAL_RANK
    and LOCAL_WORLD_SIZE the process is the only one on its host.

    Raises:
        UserError: some of the variables are missing, or a value is impossible.
    """
    found = {name: value for name in LAUNCHER if (value := os.environ.get(name, "").strip())}
    marks = [name for name in ("RANK", "WORLD_SIZE", *_LOCAL) if name in found]
    if not marks:
        return None
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise UserError(
            f"{marks[0]}={found[marks[0]]} is set in the environment, but not {', '.join(missing)}; unset "
            f"{' and '.join(marks)}, or let torchrun or `gantrain train --processes N` start the processes"
        )
    world = _number(found, "WORLD_SIZE", 1, None)
    local_world = _number(found, "LOCAL_WORLD_SIZE", 1, world) if "LOCAL_WORLD_SIZE" in found else None
    if (local_world or 1) > 1 and "LOCAL_RANK" not in found:
        raise UserError(
            f"LOCAL_WORLD_SIZE={local_world} is set in the environment, but not LOCAL_RANK, which numbers the "
            "processes of this host from 0; set it, or unset LOCAL_WORLD_SIZE"
        )
    return Place(
        rank=_number(found, "RANK", 0, world - 1),
        world_size=world,
        local_rank=_number(found, "LOCAL_RANK", 0, (local_world or world) - 1) if "LOCAL_RANK" in found else 0,
        local_world_size=local_world or 1,
        address=found["MASTER_ADDR"],
        port=_number(found, "MASTER_PORT", 1, 65535),
    )


def distributed() -> bool:
    """Whether a launcher such as torchrun started this process as one of several.

    Raises:
        UserError: see :func:`launched_place`.
    """
    return launched_place() is not None


def shown_ranks() -> tuple[int, int]:
    """The rank and the local rank by which a process decides whether it writes to the terminal.

    Both are 0 where the launcher's variables are wrong, since each process must then say so itself.
    """
    try:
        place = launched_place()
    except UserError:
        place = None
    return (0, 0) if place is None else (place.rank, place.local_rank)


def _number(found: dict[str, str], name: str, least: int, most: int | None) -> int:
    text = found[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= (most or int(text))):
        within = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise UserError(
            f"{name}={text}: expected a whole number {within} in the environment; unset the launcher's variables "
            f"({', '.join(n for n in LAUNCHER if n in found)}), or let torchrun set them"
        )
    return int(text)


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
    place = launched_place()
    return _asked_of_accelerate() if place is None else place.world_size


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
