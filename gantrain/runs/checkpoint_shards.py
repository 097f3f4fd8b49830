"""The shards in a checkpoint: tensors that no process holds whole, written by torch.distributed.checkpoint.

They lie in the folder ``shards`` of the checkpoint, in files of safetensors, which say where in its tensor each piece
belongs. Nothing in them is ever unpickled. Each process writes its own pieces, and any number of processes reads them.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.runs.checkpoint_files import SHARDS, Damaged, sha256_of_file

# The bytes of tensors that go into one file of each process; torch copies those of one file in memory.
_FILE = 64 * 2**20


def write_shards(folder: Path, tensors: Mapping[str, Tensor], processes: Processes) -> dict[str, str]:
    """Write sharded tensors, of which each process writes its own pieces; all call this together.

    Args:
        folder: the folder of the checkpoint that is being written, which all processes must see.
        tensors: the tensors by name, at least one, in all processes the same.
        processes: all processes.

    Returns:
        The SHA-256 of each file by its name in the folder, in all processes.

    Raises:
        UserError: a process does not see the folder, or cannot write into it.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save
    from torch.distributed.checkpoint.api import CheckpointException

    place = folder / SHARDS
    with processes.raise_on_all():
        if processes.rank == 0:
            place.mkdir()
    with processes.raise_on_all():
        if not place.is_dir():
            raise UserError(
                f"{folder.parent}: process {processes.rank} on {socket.gethostname()} does not see what the first one "
                "writes; with run.sharding all hosts need one folder, on a shared file system (run.folder)"
            )
    number, size, files = 1, 0, {}
    for name, t in tensors.items():
        if size >= _FILE:
            number, size = number + 1, 0
        files[name] = number
        size += t.nbytes // processes.world_size
    try:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(place), files, save_distributed=True))
    except CheckpointException as error:
        where, (why, _) = next(iter(error.failures.items()))
        what = why.strerror if isinstance(why, OSError) and why.strerror else " ".join(str(why).split())
        raise UserError(f"{folder}: cannot be written by process {where}: {what}") from error
    with processes.raise_on_all():
        own = sorted(place.glob(f"shard-{processes.rank + 1:05d}-*.safetensors"))
        digests = {f"{SHARDS}/{file.name}": sha256_of_file(file) for file in own}
    return {name: digest for each in processes.gather(digests) for name, digest in each.items()}


def read_shards(folder: Path, like: Tensor | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint that are stored in shards, by name.

    Args:
        folder: the folder of the checkpoint, whose files are known to be whole.
        like: a sharded tensor; the tensors are then divided as it is, and this process reads its own rows only. By
            default they are whole, on the CPU.

    Raises:
        Damaged: the files do not hold what a checkpoint has there.
    """
    if not (folder / SHARDS).is_dir():
        return {}
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load
    from torch.distributed.checkpoint.api import CheckpointException

    reader = HuggingFaceStorageReader(str(folder / SHARDS))
    try:
        found: Any = reader.read_metadata().state_dict_metadata
        tensors = {name: _empty(each.size, each.properties.dtype, like) for name, each in found.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no other process takes part
            load(dict(tensors), storage_reader=reader, no_dist=True)
    except (CheckpointException, ValueError, KeyError) as error:
        raise Damaged(f"{folder / SHARDS}: not the shards of a checkpoint: {' '.join(str(error).split())}") from error
    return tensors


def _empty(size: torch.Size, dtype: torch.dtype, like: Any) -> Tensor:
    if like is None:
        return torch.empty(size, dtype=dtype)
    from torch.distributed import tensor

    found: Tensor = tensor.empty(size, dtype=dtype, device_mesh=like.device_mesh, placements=like.placements)
    return found
