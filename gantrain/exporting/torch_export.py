"""A network as a graph of torch, which torch loads without gantrain."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gantrain.exporting.function import Function
from gantrain.runs.saved import SavedRun

DESCRIPTION = "gantrain.json"
"""The name, within the file, of the description of the tensors."""


def write(function: Function, saved: SavedRun) -> bytes:
    """The content of the file."""
    program = torch.export.export(
        function.module, function.arguments(3, seed=0), dynamic_shapes=shapes(function), strict=False
    )
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={DESCRIPTION: json.dumps(function.about)})
    return stream.getvalue()


def read(content: bytes, function: Function, saved: SavedRun) -> Callable[[Sequence[Tensor]], Tensor]:
    """The function of the file."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: module(*inputs)


def shapes(function: Function) -> tuple[Any, ...]:
    """Which dimensions of the inputs may have any size: the first, which is the batch."""
    n = torch.export.Dim("n", min=1)
    return tuple({0: n} for _ in function.inputs)
