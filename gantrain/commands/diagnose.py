"""The diagnose command: the shape of a run's game at a checkpoint, and the outer loop that it suggests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrain.analysis.advice import Advice, advise
from gantrain.analysis.diagnosis import Diagnosis
from gantrain.analysis.method import Method
from gantrain.compute.device import exact_arithmetic
from gantrain.config.loading import resolved, validate
from gantrain.config.sections import Diagnose
from gantrain.config.shipped import outputs
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.plotting import figures
from gantrain.plotting.images import figure_to_png
from gantrain.runs.monitor import Monitor
from gantrain.runs.saved import SavedRun, load
from gantrain.train.callbacks.diagnosis import GameDiagnosis, log
from gantrain.utils.io import replacing_folder, write_file
from gantrain.utils.tensors import norm


def diagnose_run(
    run: str,
    step: int | None = None,
    to: int | None = None,
    as_json: bool = False,
    trust: bool = False,
    data: str | None = None,
    **options: Any,
) -> str:
    """Diagnose a checkpoint, write the diagnosis into ``RUN/diagnosis/step_N``, and return it as text.

    Processes that a launcher started share the measurements; the first of them writes.

    Args:
        run: the run, as in :func:`~gantrain.runs.saved.load`.
        step: the step of the checkpoint; the newest by default.
        to: the step of a later checkpoint of the run, if the path to it is to be examined.
        as_json: whether the text is JSON.
        trust: as in :func:`~gantrain.runs.saved.load`.
        data: where the training data lie now, if not where the run's config says.
        options: values for keys of the config's section ``diagnose``; for None the run's own value is taken.

    Raises:
        UserError: there is no such run or checkpoint, ``to`` is not later than ``step``, or weights are not finite.
    """
    with process_group(not torch.cuda.is_available()) as state, exact_arithmetic(state.device):
        processes = Processes.launched()
        with processes.raise_on_all():
            saved = load(run, weights="live", step=step, device=state.device, trust=trust, data=data, plays=True)
            for name, player in saved.game.players.items():
                if not norm(player.parameters).isfinite():
                    raise UserError(
                        f"{saved.path}: the weights of player {name} hold NaN or infinity; the run diverged"
                    )
            later = None if to is None else _later_point(saved, to, state.device, trust)
            given = {key: value for key, value in options.items() if value is not None}
            section = validate(Diagnose, (saved.settings.diagnose or Diagnose()).model_dump() | given, "diagnose")
            config = saved.settings
            measured = GameDiagnosis(
                saved.game, saved.data, section, config.data.batch_size, config.run.seed, state.device
            )
        diagnosis = measured.measure(later, processes)
    advice = advise(diagnosis, Method.of(config))
    about = {
        "checkpoint": str(saved.path),
        "step": saved.step,
        "to": to,
        "batches": section.batches,
        "batch_size": config.data.batch_size,
    }
    report = {
        "about": about,
        **diagnosis.as_dict(),
        "plain": list(advice.plain),
        "dominates": advice.dominates,
        "outer": dict(advice.outer),
        "step_size": advice.step,
        "why": list(advice.why),
        "changes": list(advice.changes),
    }
    content = json.dumps(report, indent=2, allow_nan=False)
    folder = _place(saved)
    if processes.rank == 0:
        _write(folder, saved, content, diagnosis, advice)
    if as_json:
        return content
    how = (
        f"{saved.path}: {diagnosis.size} parameters, live weights in evaluation mode, {section.batches} batches of "
        f"{config.data.batch_size}, {diagnosis.products} Jacobian-vector products; mean ± deviation over the batches"
    )
    return "\n".join([*advice.plain, "", how, "", *diagnosis.lines, "", *advice.lines, "", f"written to {folder}"])


def _later_point(saved: SavedRun, to: int, device: torch.device, trust: bool) -> dict[str, list[Tensor]]:
    """The parameters and statistics of each player at the later checkpoint."""
    if to <= saved.step:
        raise UserError(f"--to: expected a step after {saved.step}, that of the checkpoint, got {to}")
    players = load(saved.folder, weights="live", step=to, device=device, trust=trust).game.players
    return {name: [t.detach() for t in (*p.parameters, *p.statistics)] for name, p in players.items()}


def _place(saved: SavedRun) -> Path:
    """The folder of the diagnosis."""
    return outputs(saved.folder) / "diagnosis" / saved.path.name


def _write(folder: Path, saved: SavedRun, report: str, diagnosis: Diagnosis, advice: Advice) -> None:
    """Write the folder of the diagnosis, which replaces an earlier one of the same step as a whole."""
    with replacing_folder(folder) as temporary:
        monitor = Monitor(temporary, resolved(saved.settings), saved.step)
        try:
            log(monitor, saved.step, diagnosis, advice)
        finally:
            monitor.close()
        write_file(temporary / "report.json", report + "\n")
        figure_to_png(figures.spectrum(diagnosis.jacobian, diagnosis.hessians), temporary / "spectrum.png")
