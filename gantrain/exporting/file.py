"""The content of an exported file, which is run and compared with the network before anybody gets it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrain.compute.modes import seeded
from gantrain.errors import UserError, is_out_of_memory
from gantrain.exporting import onnx, torch_export, weights
from gantrain.exporting.function import Function, function_of
from gantrain.runs.saved import SavedRun

# The sizes of the batches on which a file is compared with the network.
BATCHES = (1, 5)
# The largest difference, relative to the largest value or to 1.
TOLERANCE = 1e-4

Run = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Format:
    """A format of exported files.

    Attributes:
        suffix: how names of its files end.
        write: the content of a file.
        read: the function that a file's content holds.
        seeded: whether the random numbers that a network draws itself are those of torch.
    """

    suffix: str
    write: Callable[[Function, SavedRun], bytes]
    read: Callable[[bytes, Function, SavedRun], Run]
    seeded: bool = True


FORMATS = {
    "onnx": Format(".onnx", onnx.write, onnx.read, seeded=False),
    "torch": Format(".pt2", torch_export.write, torch_export.read),
    "safetensors": Format(".safetensors", weights.write, weights.read),
}


def exported(saved: SavedRun, to: str) -> bytes:
    """The content of a file in which the network of a run is exported.

    The file was run on fresh random inputs, one at a time and five at a time, and gave what the network gives.

    Args:
        saved: the run, opened on the CPU.
        to: the format: "onnx", "torch" or "safetensors".

    Raises:
        UserError: the run has no generator and predicts no labels; a package is missing; the format cannot express the
            network; or the file gives something else than the network.
    """
    form = FORMATS[to]
    function = function_of(saved)
    if not form.seeded and _draws(function):
        raise UserError(
            f"{saved.folder}: {function.about['network']} draws random numbers also in evaluation mode, and in ONNX "
            "draws others, so that the file could not be compared; use --to torch, or a network that draws none"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = form.write(function, saved)
            run = form.read(content, function, saved)
            _compare(function, run, to)
    except Exception as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        first: BaseException = error
        while first.__cause__ is not None:  # what a converter wraps around it only says that it failed
            first = first.__cause__
        reason = f"{type(first).__name__}: {' '.join(str(first).split()):.200}"
        raise UserError(
            f"{saved.folder}: {function.about['network']} cannot be exported to {to} ({reason}); "
            "choose another format with --to"
        ) from error
    return content


@torch.no_grad()
def _draws(function: Function) -> bool:
    """Whether two passes over the same input differ."""
    inputs, cpu = function.arguments(2, seed=0), torch.device("cpu")
    outputs = []
    for seed in (0, 1):
        with seeded(seed, cpu):
            outputs.append(function.module(*inputs))
    return not torch.equal(outputs[0], outputs[1])


@torch.no_grad()
def _compare(function: Function, run: Run, to: str) -> None:
    cpu = torch.device("cpu")
    for n in BATCHES:
        inputs = function.arguments(n, seed=1)
        outputs = []
        for call in (lambda given: function.module(*given), run):
            with seeded(n, cpu) if FORMATS[to].seeded else nullcontext():
                outputs.append(call(inputs))
        expected, found = outputs
        if not expected.isfinite().all():
            raise UserError(f"export: {function.about['network']} returns NaN or infinity; export an earlier step")
        if found.shape != expected.shape:
            raise UserError(
                f"export: the file returns the shape {tuple(found.shape)} for {n} samples, and the network "
                f"{tuple(expected.shape)}; nothing was written"
            )
        difference = float((found - expected).abs().max())
        allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
        if not difference <= allowed:
            raise UserError(
                f"export: the file differs from the network by {difference:.3g} on {n} random inputs, and at most "
                f"{allowed:.3g} is rounding; nothing was written"
            )
