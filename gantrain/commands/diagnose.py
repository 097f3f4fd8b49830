"""The diagnose command: the shape of a run's game at a checkpoint, and what it suggests."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrain.analysis.advice import advise
from gantrain.compute.precision import single_precision
from gantrain.config.loading import resolved
from gantrain.config.sections import Diagnose
from gantrain.distributed.rendezvous import joined
from gantrain.errors import UserError
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.runs.monitor import Monitor
from gantrain.runs.saved import Saved, open_saved
from gantrain.train.callbacks.diagnosis import GameDiagnosis, log
from gantrain.utils.tensors import norm


def diagnose_run(
    run: str, step: int | None = None, to: int | None = None, as_json: bool = False, **options: Any
) -> str:
    """Diagnose a checkpoint, write it into ``RUN/diagnosis/step_N``, and say it.

    Args:
        run: as in :func:`~gantrain.runs.saved.open_saved`.
        step: of the checkpoint; the newest by default.
        to: step of a later checkpoint of the run.
        as_json: whether it is said as JSON.
        options: keys of the config's section ``diagnose`` that differ from the run's; None stands for the run's.

    Raises:
        UserError: no such run or checkpoint, the later one is not later, or the weights are not finite.
    """
    with joined(not torch.cuda.is_available()) as accelerator, single_precision(tf32=False):
        saved = open_saved(run, step, "live", device=accelerator.device)
        for name, player in saved.game.players.items():
            if not norm(player.parameters).isfinite():
                raise UserError(f"{saved.path}: the weights of player {name} hold NaN or infinity; the run diverged")
        there = None if to is None else _later(saved, to, accelerator.device)
        changed = (saved.config.diagnose or Diagnose()).model_dump()
        changed |= {key: value for key, value in options.items() if value is not None}
        section = Diagnose.model_validate(changed)
        diagnosis = GameDiagnosis(
            saved.game, saved.data, section, saved.config.data.batch_size, saved.config.run.seed, accelerator.device
        )
        found = diagnosis.measure(there)
    advice = advise(found)
    about = {
        "checkpoint": str(saved.path),
        "step": saved.step,
        "to": to,
        "batches": section.batches,
        "batch_size": saved.config.data.batch_size,
    }
    said = {
        "about": about,
        **found.plain(),
        "dominates": advice.dominates,
        "outer": dict(advice.outer),
        "step_size": advice.step,
        "why": list(advice.why),
        "changes": list(advice.changes),
    }
    content = json.dumps(said, indent=2, allow_nan=False)
    folder = _written(saved, content, found, advice)
    if as_json:
        return content
    head = (
        f"{saved.path}: {found.size} parameters, live weights in evaluation mode, {section.batches} batches of "
        f"{saved.config.data.batch_size}, {found.products} Jacobian-vector products; mean ± deviation over the batches"
    )
    return "\n".join([head, "", *found.lines, "", *advice.lines, "", f"written to {folder}"])


def _later(saved: Saved, to: int, device: torch.device) -> dict[str, list[Tensor]]:
    """The other checkpoint's point, by player."""
    if to <= saved.step:
        raise UserError(f"--to: expected a step after {saved.step}, that of the checkpoint, got {to}")
    players = open_saved(saved.folder, to, "live", device=device).game.players
    return {name: [t.detach() for t in (*p.parameters, *p.statistics)] for name, p in players.items()}


def _written(saved: Saved, content: str, found: Any, advice: Any) -> Path:
    """The folder of the diagnosis, which replaces an earlier one of the same step as a whole."""
    folder = saved.folder / "diagnosis" / saved.path.name
    making = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    monitor = Monitor(making, resolved(saved.config), saved.step)
    try:
        log(monitor, saved.step, found, advice)
    finally:
        monitor.close()
    (making / "report.json").write_text(content + "\n", encoding="utf-8")
    figure_to_png(figures.spectrum(found.jacobian, found.hessians), making / "spectrum.png")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(making, folder)
    return folder
