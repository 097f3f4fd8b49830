"""What a run has made so far: its network, out of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.builders import make_game
from gantrain.config.parts import build
from gantrain.config.schema import Config
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.optim.ema import EMA
from gantrain.runs import checkpoint
from gantrain.runs.folder import is_run, open_run
from gantrain.runs.restore import restore


@dataclass(frozen=True)
class Saved:
    """A checkpoint, opened.

    Attributes:
        folder: of the run.
        config: of the run.
        path: of the checkpoint.
        step: training steps taken.
        data: the training data.
        game: with the weights of the optimizers.
        network: the game's product, with the weights that were asked for.
        weights: "ema" or "live".
    """

    folder: Path
    config: Config
    path: Path
    step: int
    data: Any
    game: Game
    network: nn.Module
    weights: str


def open_saved(
    run: str | Path,
    step: int | None = None,
    weights: str | None = None,
    expected: str | None = None,
    device: torch.device | str = "cpu",
) -> Saved:
    """Open a checkpoint of a run.

    Args:
        run: the run's folder; or ``RUN/step_N``, ``RUN/best`` or ``RUN/best/step_N``.
        step: of the checkpoint; the newest by default.
        weights: "ema" or "live"; by default the average where the run keeps one.
        expected: the kind of game that is needed.
        device: where the networks are put.

    Raises:
        UserError: no such run, checkpoint or weights; or the game is another.
    """
    place = Path(run)
    folder, config = open_run(next((p for p in (place, *place.parents[:2]) if is_run(p)), place))
    if expected is not None and config.game.name != expected:
        wanted = {"gan": "no generator", "classification": "no classifier"}[expected]
        raise UserError(f"{folder}: the game is a {config.game.name}, which has {wanted}")
    path = place if checkpoint.CHECKPOINT.fullmatch(place.name) else _choose(place, step)
    step, state = checkpoint.load(path)
    data = build("data", config.data.part)
    game = make_game(config, data, device, saved=True)
    averaged = "ema" in state and config.ema is not None
    weights = weights or ("ema" if averaged else "live")
    if weights == "ema" and not averaged:
        raise UserError(f"{path}: this run keeps no average of its weights; use --weights live")
    for name, player in game.players.items():
        restore(player.module, state, name, path)
    network = game.evaluated_network
    if weights == "ema":
        ema = EMA(network, config.ema.decay)
        ema.load_state_dict(state["ema"])
        network = ema.module
    return Saved(folder, config, path, step, data, game, network, weights)


def _choose(folder: Path, step: int | None) -> Path:
    path = checkpoint.newest(folder) if step is None else folder / f"step_{step}"
    if path is None or not path.is_dir():
        kept = sorted(int(p.name[5:]) for p in folder.glob("step_*") if p.name[5:].isdigit())
        wanted = "" if step is None else f" of step {step}; there are {kept}"
        raise UserError(f"{folder}: no whole checkpoint{wanted}")
    return path
