"""A checkpoint's state on its way from the first process to all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.runs.checkpoint import encode_parts
from gantrain.runs.checkpoint_files import decode
from gantrain.utils.shared_memory import shared_tensor

# The bytes to which tensors are aligned in memory, more than any type needs.
_ALIGNED = 64


class Handed(Mapping[str, Any]):
    """The parts of a state in memory that the processes of a host share. A part is copied whenever it is asked for.

    Args:
        skeletons: the parts as JSON, without their tensors.
        tensors: the tensors of each part, in the shared memory.
    """

    def __init__(self, skeletons: dict[str, Any], tensors: dict[str, dict[str, Tensor]]):
        self._skeletons, self._tensors = skeletons, tensors

    def __getitem__(self, part: str) -> Any:
        return decode(self._skeletons[part], {name: t.clone() for name, t in self._tensors[part].items()})

    def __iter__(self) -> Iterator[str]:
        return iter(self._skeletons)

    def __len__(self) -> int:
        return len(self._skeletons)


def hand_over(state: Mapping[str, Any] | None, processes: Processes) -> Mapping[str, Any] | None:
    """Send the state that the first process passes to all processes; the others need no folder.

    Each host gets it once, into memory that its processes share. Where they cannot, each process has a copy.

    Returns:
        The state, in every process; None if the first process passes None.
    """
    if processes.world_size == 1:
        return state
    skeletons, parts = encode_parts(state or {})
    described = {part: {name: (t.shape, t.dtype) for name, t in tensors.items()} for part, tensors in parts.items()}
    exists, skeletons, described = processes.broadcast_object((state is not None, skeletons, described))
    if not exists:
        return None
    with processes.sharing():
        shared = _shared(described)
    if shared is not None:
        memory, views = shared
        for part, tensors in parts.items():
            for name, t in tensors.items():
                views[part][name].copy_(t)
        processes.broadcast_to_hosts(memory)
        with processes.raise_on_all():
            pass  # until the first process of each host has everything
        return Handed(skeletons, views)
    if processes.rank > 0:
        parts = {part: {name: torch.empty(t[0], dtype=t[1]) for name, t in d.items()} for part, d in described.items()}
    for tensors in parts.values():
        # Tensors are sent as bytes, since gloo does not know every type.
        processes.broadcast_([t.reshape(-1).view(torch.uint8) for t in tensors.values() if t.numel()])
    return {part: decode(skeleton, parts[part]) for part, skeleton in skeletons.items()}


def _shared(described: dict[str, dict[str, Any]]) -> tuple[Tensor, dict[str, dict[str, Tensor]]] | None:
    """Shared memory for tensors of these shapes and types, and the tensors in it by part; None if there is none."""
    places, end = {}, 0
    for part, tensors in described.items():
        for name, (shape, dtype) in tensors.items():
            places[part, name] = end, end + shape.numel() * dtype.itemsize
            end = -(-places[part, name][1] // _ALIGNED) * _ALIGNED
    memory = shared_tensor((end,), torch.uint8)
    if memory is None:
        return None
    views: dict[str, dict[str, Tensor]] = {part: {} for part in described}
    for (part, name), (first, last) in places.items():
        shape, dtype = described[part][name]
        views[part][name] = memory[first:last].view(dtype).view(shape)
    return memory, views
