"""Tensors of which each process holds a shard: torch's DTensors, as FSDP2 makes them of a network's parameters.

Every shard is a run of rows. The file does not import DTensor, which takes a second: where nothing has imported it, no
tensor is one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_shard(t: object) -> bool:
    """Whether this process holds a shard of ``t``, and other processes hold the rest."""
    kind = _kind()
    return kind is not None and isinstance(t, kind)


def local(tensors: Sequence[Tensor]) -> list[Tensor] | tuple[Tensor, ...]:
    """The part of each tensor that lies in this process, in the same memory: all of it, if it is not sharded.

    Gradients do not flow through it.
    """
    kind = _kind()
    if kind is not None and any(isinstance(t, kind) for t in tensors):
        with torch.no_grad():
            return [t.to_local() if isinstance(t, kind) else t for t in tensors]
    return tensors if isinstance(tensors, (list, tuple)) else list(tensors)


def joint_norm(norms: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of tensors taken as one vector, from the norms of the parts that :func:`local` gives.

    All processes must call this together where a tensor is sharded.

    Args:
        norms: 0-d, of each part.
        tensors: the tensors, at least one.
    """
    kind = _kind()
    sharded = [kind is not None and isinstance(t, kind) for t in tensors]
    if not any(sharded):
        return torch.linalg.vector_norm(torch.stack(list(norms)))
    squares = [n.double().square() for n in norms]
    here = torch.stack([s for s, across in zip(squares, sharded, strict=True) if across]).sum()
    total = _total(here, next(t for t, across in zip(tensors, sharded, strict=True) if across))
    for square in (s for s, across in zip(squares, sharded, strict=True) if not across):
        total = total + square
    return total.sqrt().to(norms[0].dtype)


def joint_sum(sums: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """The sum over tensors, from the sums over the parts that :func:`local` gives; see :func:`joint_norm`."""
    kind = _kind()
    sharded = [kind is not None and isinstance(t, kind) for t in tensors]
    if not any(sharded):
        return torch.stack(list(sums)).sum()
    here = torch.stack([s.double() for s, across in zip(sums, sharded, strict=True) if across]).sum()
    total = _total(here, next(t for t, across in zip(tensors, sharded, strict=True) if across))
    for value in (s for s, across in zip(sums, sharded, strict=True) if not across):
        total = total + value
    return total.to(sums[0].dtype)


def whole(t: Tensor) -> Tensor:
    """The tensor with the shards of all processes, which must call this together."""
    full: Tensor = t.full_tensor() if is_shard(t) else t  # type: ignore[attr-defined]
    return full


def shard_like(t: Tensor, like: Tensor) -> Tensor:
    """A whole tensor that is sharded as ``like`` is: this process keeps its own rows, in new memory.

    The tensor itself is returned where ``like`` is not sharded, or ``t`` is a shard already.
    """
    if not is_shard(like) or is_shard(t):
        return t
    from torch.distributed.tensor import DTensor

    target: Any = like
    first, rows = own_rows(target)
    piece = t[first : first + rows] if t.dim() else t
    piece = piece.to(target.to_local().device, copy=True).contiguous()
    found: Tensor = DTensor.from_local(
        piece, target.device_mesh, target.placements, run_check=False, shape=t.shape, stride=like.stride()
    )
    return found


def own_rows(t: Any) -> tuple[int, int]:
    """The number of the first row of a sharded tensor that this process holds, and how many it holds."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, offset = compute_local_shape_and_global_offset(t.shape, t.device_mesh, t.placements)
    return offset[0], shape[0]


def _total(value: Tensor, t: Any) -> Tensor:
    """The sum of a number over the processes among which a sharded tensor is divided."""
    (across,) = (i for i, placement in enumerate(t.placements) if placement.is_shard())
    dist.all_reduce(value, group=t.device_mesh.get_group(across))  # by torch, in the group of a mesh
    return value


def _kind() -> Any:
    return getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
