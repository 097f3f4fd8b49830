"""The best generator of the study of the SNGAN pair, as the run that gantrain brings along."""

from __future__ import annotations

from pathlib import Path

from gantrain.config import yaml_files
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.runs.data_record import RECORD
from gantrain.runs.folder import BEST, CONFIG, RESOLVED_CONFIG, config_text, is_run
from gantrain.runs.summary import Summary, summarise
from gantrain.utils.io import make_folder, write_file

PLAYERS = ("generator", "discriminator")
# What optimizers and the outer loop hold is left out: the shipped run is for sampling, measuring and as a beginning.
PARTS = ("clock", "field", *PLAYERS, "ema")
LARGEST = 10e6
ARCHIVE = "data/cifar10-jpeg-train.tar.xz"


def ship(folder: Path, target: Path) -> str:
    """Write the run with the lowest distance, at its best evaluation, to the target.

    Args:
        folder: the folder of the runs.
        target: the folder of the new run, in which no run may be.

    Returns:
        What was written, in a line.

    Raises:
        UserError: there is no run that was measured and is small enough, or a run in the target.
    """
    if is_run(target):
        raise UserError(f"{target}: there is a run already; move it away first")
    measured = [summarise(run) for run in folder.glob("*") if is_run(run)]
    small = [one for one in measured if one.best is not None and _size(one) <= LARGEST]
    if not small:
        raise UserError(f"{folder}: no run has been measured whose networks have at most {LARGEST / 1e6:.0f} MB")
    best = min(small, key=lambda one: one.best)
    step, state = checkpoint.load(_best(best))
    config = yaml_files.read(best.folder / CONFIG)
    # What belongs to the machine on which the run was trained.
    config["run"] |= {"name": target.name, "folder": "checkpoints", "device": "auto"}
    config["data"]["path"] = config["evaluate"]["data"]["path"] = ARCHIVE
    config["evaluate"]["features"] = "photos-classifier"
    kept = {part: state[part] for part in PARTS}
    # By its optimizer a part is known as a player's, where a run begins with the weights of this one.
    kept |= {f"optimizer.{player}": {} for player in PLAYERS}
    make_folder(target)
    checkpoint.save(target, step, kept, keep=None)
    write_file(target / RECORD, (best.folder / RECORD).read_bytes())
    write_file(target / CONFIG, config_text(config, RESOLVED_CONFIG))
    return f"{target}: {best.folder.name} at step {step}, {best.metric} {best.best:.3f}"


def _size(run: Summary) -> int:
    return sum((_best(run) / f"{part}.safetensors").stat().st_size for part in (*PLAYERS, "ema"))


def _best(run: Summary) -> Path:
    return run.folder / BEST / f"step_{run.best_step}"
