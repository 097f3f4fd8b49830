"""Files of safetensors in pieces: a header, and the tensors from where they lie in memory.

The library's own ``save`` copies all tensors twice, and holds Python's lock meanwhile, so that a training that goes on
in another thread would stand still.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

import safetensors.torch
import torch
from torch import Tensor

from gantrain.utils.io import Piece


def safetensors_file(tensors: Mapping[str, Tensor]) -> list[Piece]:
    """The content of a safetensors file, as the library writes and reads it.

    Tensors on the CPU whose elements lie in a row are not copied.

    Args:
        tensors: the tensors by name, on any device; they may be strided and share memory.

    Raises:
        SafetensorError, KeyError: the format has no name for the type of a tensor.
        ValueError: a tensor is sparse, or its name cannot be encoded.
    """
    header: dict[str, object] = {}
    pieces: list[Piece] = []
    end = 0
    # The widest types first, so that all tensors are aligned.
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        if t.layout != torch.strided:
            raise ValueError(f"{name} is sparse")
        content = t.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
        begin, end = end, end + content.numel()
        header[name] = {"dtype": _name(t.dtype), "shape": list(t.shape), "data_offsets": [begin, end]}
        pieces.append(content.numpy().data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *pieces]


@cache
def _name(dtype: torch.dtype) -> str:
    """The format's name for a type of numbers."""
    file = safetensors.torch.save({"t": torch.empty(0, dtype=dtype)})
    name: str = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["t"]["dtype"]
    return name
