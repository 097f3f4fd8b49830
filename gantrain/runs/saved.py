"""A run opened again: its game and its network, restored from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gantrain.builders import make_game
from gantrain.config.parts import build
from gantrain.config.schema import Config
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.optim.ema import EMA
from gantrain.runs import checkpoint, checkpoint_files
from gantrain.runs.folder import is_run, open_run
from gantrain.runs.restore import require_fit, restore


@dataclass(frozen=True)
class SavedRun:
    """A run as one of its checkpoints holds it.

    Attributes:
        folder: the folder of the run.
        config: the config of the run.
        path: the folder of the checkpoint.
        step: training steps that the run had taken.
        data: the training data set.
        game: the game, with the live weights, which the optimizers had reached.
        network: the network that is evaluated, with the weights that were asked for.
        weights: which weights ``network`` has: "ema" or "live".
    """

    folder: Path
    config: Config
    path: Path
    step: int
    data: DataSet
    game: Game
    network: nn.Module
    weights: str


def open_saved_run(
    run: str | Path,
    step: int | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> SavedRun:
    """Restore a run from one of its checkpoints.

    Args:
        run: the run's folder; or ``RUN/step_N``, ``RUN/best`` or ``RUN/best/step_N``.
        step: the step of the checkpoint; the newest by default.
        weights: "ema" for the averaged weights or "live" for those of the optimizer. By default the averaged ones where
            the run keeps an average.
        device: where the networks are put.
        trust: whether code outside gantrain that the run's config names is executed though the run was not trained
            here.

    Raises:
        UserError: there is no such run or checkpoint, the run is not trusted, or the checkpoint has no such weights or
            belongs to other networks.
    """
    place = Path(run)
    folder, config = open_run(next((p for p in (place, *place.parents[:2]) if is_run(p)), place), trust)
    path = _find_checkpoint(place, step)
    step, state = checkpoint.load(path)
    data = build("data", config.data.part)
    game = make_game(config, data, device, saved=True)
    average = config.ema if "ema" in state else None
    weights = weights or ("live" if average is None else "ema")
    if weights == "ema" and average is None:
        raise UserError(f"{path}: this run keeps no average of its weights; use --weights live")
    for name, player in game.players.items():
        restore(player.module, state, name, path)
    network = game.evaluated_network
    if weights == "ema" and average is not None:
        ema = EMA(network, average.decay)
        require_fit(state["ema"], ema.state_dict(), "ema", path, counts=True)
        ema.load_state_dict(state["ema"])
        network = ema.module
    return SavedRun(folder, config, path, step, data, game, network, weights)


def _find_checkpoint(folder: Path, step: int | None) -> Path:
    if checkpoint_files.CHECKPOINT.fullmatch(folder.name) and not is_run(folder):
        if step is not None and folder.name != f"step_{step}":
            raise UserError(f"{folder}: is a checkpoint, and another step, {step}, is asked for; name the run instead")
        return folder
    path = checkpoint.newest(folder) if step is None else checkpoint_files.found(folder).get(step)
    if path is None:
        of_step = "" if step is None else f" of step {step}; there are {sorted(checkpoint_files.found(folder))}"
        raise UserError(f"{folder}: no whole checkpoint{of_step}")
    return path
