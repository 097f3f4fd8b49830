"""What processes that have joined must have in common, and what they must not share."""

from __future__ import annotations

import socket
from collections import Counter

import torch

from gantrain import __version__
from gantrain.distributed.environment import launched_place
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError


def require_agreement(processes: Processes, device: torch.device) -> None:
    """Refuse processes that have other software than the first, or a GPU or local rank that another process has, too.

    Args:
        processes: all processes, each of which calls this function.
        device: the device of this process.

    Raises:
        UserError: the versions differ, or two processes have the same GPU, or the same local rank on one host.
    """
    processes.compare_with_first(_software, require_same_software)
    found = processes.gather((_local_rank(), _gpu(device)))
    with processes.raise_on_all():
        if processes.rank == 0:
            require_own_local_ranks([place for place, _ in found])
            require_own_gpus([gpu for _, gpu in found])


def require_same_software(here: dict[str, str], first: dict[str, str]) -> None:
    """Refuse software that differs from that of the first process: it may draw and compute other numbers.

    Args:
        here: the versions by package in this process.
        first: those in the first process.

    Raises:
        UserError: a version differs.
    """
    for name, version in here.items():
        if version != first.get(name):
            raise UserError(
                f"{name} {version} here, and {name} {first.get(name)} in the first process; install the same version "
                "on all hosts"
            )


def require_own_local_ranks(places: list[tuple[int, int]]) -> None:
    """Refuse processes whose launcher did not number those of each host from 0: they share out work by these numbers.

    Args:
        places: for each process its ``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE``; (0, 1) for one that is alone on its host.

    Raises:
        UserError: on hosts with the same number of processes, one local rank is there more often than another.
    """
    for size in sorted({size for _, size in places}):
        found = Counter(rank for rank, of in places if of == size)
        hosts = found.total() / size
        for rank, count in sorted(found.items()):
            if count > hosts:
                where = [str(process) for process, place in enumerate(places) if place == (rank, size)]
                raise UserError(
                    f"LOCAL_RANK={rank} and LOCAL_WORLD_SIZE={size} are in the environment of process "
                    f"{' and '.join(where)}; expected the processes of each host numbered from 0 to {size - 1}, as "
                    "torchrun does"
                )


def require_own_gpus(gpus: list[tuple[str, str] | None]) -> None:
    """Refuse two processes on one GPU. Each process may see all GPUs of its host, or only its own.

    Args:
        gpus: for each process its host and the identity of its GPU; None for a process on the CPU.

    Raises:
        UserError: two processes have the same GPU.
    """
    owners: dict[tuple[str, str], int] = {}
    for rank, gpu in enumerate(gpus):
        if gpu is None:
            continue
        if gpu in owners:
            host = gpu[0]
            most = len({each for each in gpus if each is not None and each[0] == host})
            raise UserError(
                f"more processes than GPUs: processes {owners[gpu]} and {rank} on {host} have the same GPU; start at "
                f"most {most} on this host, or use run.device: cpu"
            )
        owners[gpu] = rank


def _software() -> dict[str, str]:
    return {"gantrain": __version__, "torch": torch.__version__}


def _local_rank() -> tuple[int, int]:
    place = launched_place()
    return (0, 1) if place is None or place.local_world_size == 1 else (place.local_rank, place.local_world_size)


def _gpu(device: torch.device) -> tuple[str, str] | None:
    """The host and the GPU of this process. The number of the device says nothing: a process may see its own alone."""
    if device.type != "cuda":
        return None
    return socket.gethostname(), str(torch.cuda.get_device_properties(device).uuid)
