"""The export command: a run's network in a file that other programs run."""

from __future__ import annotations

import os
from pathlib import Path

from gantrain.compute import memory
from gantrain.config.base import one_of
from gantrain.config.shipped import outputs
from gantrain.config.types import shown
from gantrain.errors import UserError
from gantrain.exporting import FORMATS, exported
from gantrain.runs.saved import load
from gantrain.utils.io import make_folder, write_file


def export(
    run: str,
    to: str,
    output: str | None = None,
    step: int | None = None,
    weights: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
    data: str | None = None,
) -> Path:
    """Export the generator or the classifier of a run, and compare the file with it before it gets its name.

    Args:
        run: the run's folder, or that of one of its checkpoints.
        to: the format: "onnx", "torch" or "safetensors".
        output: the path of the file; by default it lies in the run's folder ``exported``.
        step: the step of the checkpoint; the newest by default.
        weights: as in :func:`~gantrain.runs.saved.load`.
        overwrite: whether an earlier file is replaced.
        trust: as in :func:`~gantrain.runs.saved.load`.
        data: as in :func:`~gantrain.runs.saved.load`.

    Returns:
        The path of the file.

    Raises:
        UserError: there is no such format, run, checkpoint or weights; the run has neither a generator nor a
            classifier; the file exists; it cannot be made, or differs from the network.
    """
    if to not in FORMATS:
        raise UserError(f"to: expected {one_of(FORMATS)}, got {shown(to)}")
    with memory.out_of_memory(lambda: "export", lambda: "for the network and a copy of it"):
        saved = load(run, weights=weights, step=step, trust=trust, data=data)
        name = f"{saved.weights}_step_{saved.step}{FORMATS[to].suffix}"
        target = Path(output) if output else outputs(saved.folder) / "exported" / name
        if target.is_dir():
            raise UserError(f"{target}: is a folder; name a file with --output")
        if os.path.lexists(target) and not overwrite:
            raise UserError(f"{target}: exists; add --overwrite to replace it, or name another file with --output")
        content = exported(saved, to)
    make_folder(target.parent)
    write_file(target, content)
    return target
