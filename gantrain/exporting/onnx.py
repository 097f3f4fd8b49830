"""A network as a graph of ONNX, which onnxruntime and many other programs run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.exporting.function import Function
from gantrain.exporting.torch_export import traced
from gantrain.runs.saved import SavedRun

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Beyond this size the format keeps the weights in further files.
_LARGEST = 2**31 - 1


def write(function: Function, saved: SavedRun) -> bytes:
    """The content of the file; its ``metadata_props`` say what the tensors mean.

    Raises:
        UserError: a package is missing, or the network is larger than one file of ONNX holds.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        several = "the packages" if len(missing) > 1 else "the package"
        are = "are" if len(missing) > 1 else "is"
        raise UserError(
            f"export: --to onnx needs {several} {', '.join(missing)}, which {are} not installed; pip install "
            "'gantrain[onnx]'"
        )
    size = sum(t.numel() * t.element_size() for t in function.module.state_dict().values())
    if size > _LARGEST:
        raise UserError(f"export: the weights have {size:,} bytes, and a file of ONNX holds 2 GB; use --to torch")
    program: Any = torch.onnx.export(
        traced(function),
        dynamo=True,
        input_names=[*function.inputs],
        output_names=[function.output],
        verbose=False,
    )
    model = program.model_proto
    for key, value in function.about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    content: bytes = model.SerializeToString()
    return content


def read(content: bytes, function: Function, saved: SavedRun) -> Callable[[Sequence[Tensor]], Tensor]:
    """The function of the file, run by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[Tensor]) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(function.inputs, inputs, strict=True)}
        return torch.from_numpy(session.run([function.output], given)[0])

    return run
