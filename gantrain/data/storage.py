"""Where samples are kept during a run: on the device, in memory, or in their files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor

from gantrain.data.dataset import DataSet, Samples
from gantrain.distributed.environment import launched_place
from gantrain.errors import UserError
from gantrain.utils.shared_memory import can_share, shared_tensor
from gantrain.utils.shared_work import everywhere, others

Storage = Literal["auto", "device", "memory", "disk"]

# The largest share of the free memory that "auto" takes: on the device, where networks need some too, and on the host.
_OF_DEVICE = 0.25
_OF_HOST = 0.5
# Number of samples that are read at once.
_CHUNK = 1000
# The bytes of a tensor in memory from which on the processes of a host keep one together.
_WORTH_SHARING = 2**24


def place_samples(data: DataSet, storage: Storage = "auto", device: torch.device | str = "cpu") -> None:
    """Move the samples of a data set to where they will be kept.

    ``data.samples`` becomes one tensor on the device, becomes one tensor in memory, or stays unread in its files. With
    "auto" the first of these is taken for which enough memory is free. The users of samples select some and call
    ``to`` on them, and so need not know where they are. Processes that share work read each sample once on a host, and
    have one tensor in memory together.

    Args:
        data: the data set, which is changed in place.
        storage: "device", "memory", "disk" or "auto"; see :class:`gantrain.config.sections.Data`.
        device: the device on which batches are needed.

    Raises:
        UserError: the samples do not fit into the memory asked for, or are random windows, which stay in files; they
            were to stay on disk but are in memory already; an image cannot be read.
    """
    samples, device = data.samples, torch.device(device)
    if getattr(samples, "random_numbers", 0):
        if storage in ("device", "memory"):
            raise UserError(
                f"data.storage: {storage} was asked for, but data.random_resized_crop reads other windows of the files "
                "each time; use auto or disk"
            )
        return
    size = size_in_bytes(samples)
    if storage == "disk":
        if isinstance(samples, Tensor):
            why = getattr(data, "in_memory_only", None)
            unread = getattr(data, "in_files", None)
            if why or unread is None:
                why = why or "this data set is not read from single files; use auto"
                raise UserError(f"data.storage: disk was asked for, but {why}")
            data.samples = unread
        return
    if device.type != "cpu" and storage != "memory":
        free = _free(device)
        if everywhere(size <= (free if storage == "device" else _OF_DEVICE * free)):
            data.samples = held(samples, device)
            return
        if storage == "device":
            raise UserError(
                f"data.storage: {amount(size)} of samples do not fit into the {amount(free)} left on {device}; "
                "use auto, memory or disk"
            )
    if not isinstance(samples, Tensor):
        if storage == "auto" and not everywhere(fits_in_memory(samples)):
            return
        require_memory(samples, "data.storage", "use auto or disk")
    elif samples.device.type != "cpu":
        return
    data.samples = held(samples)


def on_device(samples: Samples, device: torch.device) -> Tensor:
    """Samples on a device; the program does not wait until they have arrived there."""
    if isinstance(samples, Tensor) and samples.device.type == device.type:
        return samples
    held = samples.to("cpu")
    return held if device.type == "cpu" else held.pin_memory().to(device, non_blocking=True)


def describe_samples(samples: Samples, workers: int) -> str:
    """One line that says how many samples there are, how large they are and where they are kept.

    Args:
        samples: the samples, after :func:`place_samples`.
        workers: the number of processes that read samples ahead, where these are on disk.
    """
    where = "on disk"
    if isinstance(samples, Tensor):
        where = "in memory" if samples.device.type == "cpu" else "in memory on the device"
    elif workers:
        where = f"on disk, read ahead by {workers} worker{'s' if workers > 1 else ''}"
    shape = "x".join(map(str, samples.shape[1:]))
    return f"data: {len(samples)} x {shape}, {amount(size_in_bytes(samples))}, {where}"


def size_in_bytes(samples: Samples) -> int:
    """The size of all samples together when they are in memory."""
    return math.prod(samples.shape) * samples.dtype.itemsize


def fits_in_memory(samples: Samples) -> bool:
    """Whether the samples take at most half of the memory that is left."""
    return size_in_bytes(samples) <= _OF_HOST * available(_copies(samples))


def require_memory(samples: Samples, key: str, advice: str) -> None:
    """Refuse samples that do not fit into the memory that is left.

    Args:
        samples: the samples.
        key: the key of the config with which the error message begins.
        advice: the advice with which the error message ends.

    Raises:
        UserError: the samples do not fit.
    """
    size, free = size_in_bytes(samples), available(_copies(samples))
    if size > free:
        raise UserError(f"{key}: {amount(size)} of samples do not fit into the {amount(free)} of memory left; {advice}")


def _copies(samples: Samples) -> int:
    """The number of copies of samples that this host would hold."""
    return 1 if can_share() and not isinstance(samples, Tensor) else local_processes()


def available(copies: int | None = None) -> int:
    """The bytes of memory left for this process, assuming that all processes of the run on this host take the same.

    Args:
        copies: the number of processes that take memory; by default all of the run on this host.

    The limit of a control group, which containers and batch systems set, counts as if none of its memory were in use.
    """
    limits = [psutil.virtual_memory().available]
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
        place = Path("/sys/fs/cgroup", group)
        for folder in (place, *place.parents[: len(Path(group).parts)]):
            limit = folder / "memory.max"
            if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
                limits.append(int(text))
    except OSError:
        pass
    return min(limits) // (local_processes() if copies is None else copies)


def local_processes() -> int:
    """The number of processes of the run on this host."""
    place = launched_place()
    return 1 if place is None else place.local_world_size


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]


def held_at_once(samples: Samples, key: str, why: str) -> Tensor:
    """All samples of a compressed archive, read in one go, since each read begins at the first file.

    Args:
        samples: the samples.
        key: the key of the config with which the error message begins.
        why: why they are read at once, with which the error message ends.

    Raises:
        UserError: they do not fit into the memory that is left.
    """
    require_memory(samples, key, why)
    return held(samples, at_once=len(samples))


def held(samples: Samples, device: torch.device | None = None, at_once: int = _CHUNK) -> Tensor:
    """All samples in one tensor. Processes that share work read a part each and, on a CPU, have one tensor together.

    Args:
        samples: the samples; a tensor is taken as it is, unless it is worth to be shared.
        device: the device of the tensor; None for the CPU.
        at_once: the number of samples that are read at once, so that they are not in memory twice.
    """
    device = torch.device("cpu") if device is None else device
    if isinstance(samples, Tensor) and not _worth_sharing(samples, device):
        return samples.to(device)
    # All processes must ask alike, whatever their host has.
    room = everywhere(can_share() and size_in_bytes(samples) <= available(1))
    shared, found = shared_tensor(samples.shape, samples.dtype) if room else None, others()
    if shared is None or found is None:
        return samples if isinstance(samples, Tensor) else _read(samples, device, at_once)
    turn, turns = found.local_rank, found.local_world_size

    def fill() -> None:
        for number, (chunk, part) in enumerate(zip(shared.split(at_once), samples.split(at_once), strict=True)):
            if number % turns == turn:
                chunk.copy_(part.to("cpu"))

    found.share(fill)
    return shared.to(device)


def _worth_sharing(samples: Tensor, device: torch.device) -> bool:
    """Whether the processes of a host should hold a tensor together that each of them has already."""
    return device.type == "cpu" and not samples.is_shared() and samples.nbytes >= _WORTH_SHARING


def _read(samples: Samples, device: torch.device, at_once: int) -> Tensor:
    """All samples in a tensor of this process' own."""
    read = torch.empty(samples.shape, dtype=samples.dtype, device=device)
    for chunk, part in zip(read.split(at_once), samples.split(at_once), strict=True):
        chunk.copy_(part.to("cpu"))
    return read


def amount(size: float) -> str:
    """A number of bytes as text with a unit, such as ``13.2 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
