"""Where samples are kept while a run lasts: on the device, in memory, or in their files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from gantrain.errors import UserError

Storage = Literal["auto", "device", "memory", "disk"]

# What auto takes at most of the free memory of the device, which networks need as well, and of the host.
_OF_DEVICE = 0.25
_OF_HOST = 0.5
# Samples that are read at once.
_CHUNK = 1000


def place(data: Any, storage: Storage = "auto", device: torch.device | str = "cpu") -> None:
    """Bring a data set's samples to where they are kept.

    ``data.samples`` becomes one tensor on the device, or one in memory, or is left unread in its files. With auto it is
    the first of these that fits into a share of what is free. Whoever uses samples takes parts of them and calls
    ``to`` on each, and need not know where they are.

    Args:
        data: the data set.
        storage: see :class:`gantrain.config.sections.Data`.
        device: where batches are needed.

    Raises:
        UserError: the samples do not fit there, or cannot be read in parts; an image cannot be read.
    """
    samples, device = data.samples, torch.device(device)
    size = size_in_bytes(samples)
    if storage == "disk":
        if isinstance(samples, Tensor):
            why = getattr(data, "in_memory_only", None) or "this data set is not read from single files; use auto"
            raise UserError(f"data.storage: disk was asked for, but {why}")
        return
    if device.type != "cpu" and storage != "memory":
        free = _free(device)
        if size <= (free if storage == "device" else _OF_DEVICE * free):
            data.samples = _held(samples, device)
            return
        if storage == "device":
            raise UserError(
                f"data.storage: {_amount(size)} of samples do not fit into the {_amount(free)} left on {device}; "
                "use auto, memory or disk"
            )
    if isinstance(samples, Tensor):
        return
    if storage == "auto" and size > _OF_HOST * available():
        return
    require_memory(samples, "data.storage", "use auto or disk")
    data.samples = _held(samples, torch.device("cpu"))


def described(samples: Any, workers: int) -> str:
    """How many samples there are, of which size, and where, in a line.

    Args:
        samples: as they were placed.
        workers: processes that read them, if they are on disk.
    """
    where = "on disk"
    if isinstance(samples, Tensor):
        where = "in memory" if samples.device.type == "cpu" else "in memory on the device"
    elif workers:
        where = f"on disk, read ahead by {workers} worker{'s' if workers > 1 else ''}"
    shape = "x".join(map(str, samples.shape[1:]))
    return f"data: {len(samples)} x {shape}, {_amount(size_in_bytes(samples))}, {where}"


def size_in_bytes(samples: Any) -> int:
    """Of all samples, as they are held in memory."""
    return math.prod(samples.shape) * samples.dtype.itemsize


def require_memory(samples: Any, key: str, advice: str) -> None:
    """Refuse samples that do not fit into the memory that is left.

    Raises:
        UserError: they do not; the message begins with the config's key and ends with the advice.
    """
    size, free = size_in_bytes(samples), available()
    if size > free:
        raise UserError(
            f"{key}: {_amount(size)} of samples do not fit into the {_amount(free)} of memory left; {advice}"
        )


def available() -> int:
    """Bytes of memory left for this process, if all processes of the run on this host take equally much.

    Where a control group limits them (containers, batch systems), the limit counts as if nothing of it were used.
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
    return min(limits) // local_processes()


def local_processes() -> int:
    """Processes of the run on this host."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0]


def _held(samples: Any, device: torch.device) -> Tensor:
    """All samples in one tensor, read in parts so that nothing is in memory twice."""
    if isinstance(samples, Tensor):
        return samples.to(device)
    held = torch.empty(samples.shape, dtype=samples.dtype, device=device)
    for chunk, part in zip(held.split(_CHUNK), samples.split(_CHUNK), strict=True):
        chunk.copy_(part.to("cpu"))
    return held


def _amount(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
