"""A network as a graph of torch, which torch loads without gantrain."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from gantrain.errors import UserError, is_out_of_memory
from gantrain.exporting.function import Function
from gantrain.runs.saved import SavedRun

# The namespaces of operations that every installation of torch has.
_TORCH = ("aten", "prim", "prims", "quantized")
DESCRIPTION = "gantrain.json"
"""The name, within the file, of the description of the tensors."""


def write(function: Function, saved: SavedRun) -> bytes:
    """The content of the file.

    Raises:
        UserError: the network has operations that torch alone does not have.
    """
    program = traced(function)
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace not in _TORCH:
            raise UserError(
                f"{saved.folder}: {function.about['network']} has the operation {node.target}, which torch alone does "
                "not have, so that nothing else could run the file; use --to safetensors"
            )
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={DESCRIPTION: json.dumps(function.about)})
    return stream.getvalue()


def read(content: bytes, function: Function, saved: SavedRun) -> Callable[[Sequence[Tensor]], Tensor]:
    """The function of the file."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: module(*inputs)


def traced(function: Function) -> torch.export.ExportedProgram:
    """The graph of the function, for batches of any size."""
    arguments = function.arguments(3, seed=0)
    n = torch.export.Dim("n", min=1)
    export = partial(
        torch.export.export, function.module, arguments, dynamic_shapes=tuple({0: n} for _ in function.inputs)
    )
    try:
        return export(strict=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Python runs the network there, so that len(z) becomes the number 3. Where its bytecode is read, it stays n.
        try:
            return export(strict=True)
        except Exception:
            raise error from None
