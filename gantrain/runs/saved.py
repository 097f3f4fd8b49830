"""A run opened again: its game and its network, restored from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from gantrain.builders import make_data, make_game
from gantrain.config.schema import Config
from gantrain.data.dataset import DataSet
from gantrain.data.digest import difference, digest
from gantrain.errors import NotFound, UserError
from gantrain.games.base import Game
from gantrain.optim.ema import EMA
from gantrain.runs import checkpoint
from gantrain.runs.data_record import DataForm, recorded_digest, recorded_form
from gantrain.runs.folder import is_run, open_run
from gantrain.runs.restore import require_fit, restore

MOVED = "if the data have been moved, say with --data PATH where they are now"
"""What to do where the data of a run are missing."""


@dataclass(frozen=True)
class SavedRun:
    """A run as one of its checkpoints holds it.

    Attributes:
        folder: the folder of the run.
        config: the config of the run.
        path: the folder of the checkpoint.
        step: training steps that the run had taken.
        form: the form of the training data.
        game: the game, with the live weights, which the optimizers had reached.
        network: the network that is evaluated, with the weights that were asked for.
        weights: which weights ``network`` has: "ema" or "live".
        moved: whether the data are not where the run was trained on them.
    """

    folder: Path
    config: Config
    path: Path
    step: int
    form: DataForm
    game: Game
    network: nn.Module
    weights: str
    moved: bool = False

    @cached_property
    def data(self) -> DataSet:
        """The training data set, which is read when it is first asked for.

        Raises:
            UserError: the data are missing, or those that are said to be the moved ones are others.
        """
        return _read_data(self.config, self.folder, self.moved)


def open_saved_run(
    run: str | Path,
    step: int | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
    data: str | None = None,
    plays: bool = False,
) -> SavedRun:
    """Restore a run from one of its checkpoints. Its data need not be there, unless it is of an earlier version.

    Args:
        run: the run's folder; or ``RUN/step_N``, ``RUN/best`` or ``RUN/best/step_N``.
        step: the step of the checkpoint; the newest by default.
        weights: "ema" for the averaged weights or "live" for those of the optimizer. By default the averaged ones where
            the run keeps an average.
        device: where the networks are put.
        trust: whether code outside gantrain that the run's config names is executed though the run was not trained
            here.
        data: where the training data lie now, if not where the config says.
        plays: whether the objectives of the game will be computed, for which all its data must be there.

    Raises:
        UserError: there is no such run or checkpoint, the run is not trusted, the checkpoint has no such weights or
            belongs to other networks, or data are missing.
    """
    place = Path(run)
    folder, config = open_run(next((p for p in (place, *place.parents[:2]) if is_run(p)), place), trust, data)
    path = _find_checkpoint(place, step)
    step, state = checkpoint.load(path)
    form = recorded_form(folder)
    read = None
    if plays or form is None:
        read = _read_data(config, folder, data is not None)
        form = DataForm.of(read)
    try:
        game = make_game(config, read if plays and read is not None else form.spec, device, saved=True)
    except NotFound as error:
        raise NotFound(f"{error}; {MOVED}") from error
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
    saved = SavedRun(folder, config, path, step, form, game, network, weights, data is not None)
    if read is not None:
        vars(saved)["data"] = read  # as the property keeps what it has read
    return saved


def _read_data(config: Config, folder: Path, moved: bool) -> DataSet:
    """The training data of the run in a folder; those that have been moved must be the same."""
    try:
        data = make_data(config)
    except NotFound as error:
        raise NotFound(f"{error}; {MOVED}") from error
    if moved:
        try:
            before = recorded_digest(folder)
        except (OSError, ValueError, RecursionError):
            return data
        found = difference(digest(data.samples, data.labels, getattr(data, "in_files", None)), before)
        if found is not None:
            raise UserError(f"--data: {found}, compared with the data on which the run in {folder} was trained")
    return data


def _find_checkpoint(folder: Path, step: int | None) -> Path:
    if checkpoint.CHECKPOINT.fullmatch(folder.name) and not is_run(folder):
        if step is not None and folder.name != f"step_{step}":
            raise UserError(f"{folder}: is a checkpoint, and another step, {step}, is asked for; name the run instead")
        return folder
    path = checkpoint.newest(folder) if step is None else checkpoint.found(folder).get(step)
    if path is None:
        of_step = "" if step is None else f" of step {step}; there are {sorted(checkpoint.found(folder))}"
        raise UserError(f"{folder}: no whole checkpoint{of_step}")
    return path
