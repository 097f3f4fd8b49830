"""The callbacks for scalars and pictures of a game's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gantrain.compute.modes import eval_mode, seeded
from gantrain.config.types import Interval
from gantrain.config.user_code import UserCode, described, name_of
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.plotting.images import rendered, save_png
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result
from gantrain.utils.io import make_folder
from gantrain.utils.seeding import derive

# A name of a scalar may have slashes, as in "price/mean", by which TensorBoard groups; a picture's is part of a file's.
_NAMES = {"scalars": re.compile(r"\w[\w./-]{0,99}"), "pictures": re.compile(r"\w[\w.-]{0,99}")}


class GameScalars(Callback):
    """Logs what :meth:`gantrain.Game.scalars` measures: ``game/NAME``, or ``game/NAME[ema]`` at an average called ema.

    Args:
        game: the game.
        every: the interval from one measurement to the next.
        weights: "live" or the name of an average.
        best: whether the best checkpoint is kept by these scalars, as :attr:`gantrain.Game.better` says.
        seed: the seed of the run. Before each measurement torch's generators are seeded from it.
    """

    def __init__(self, game: Game, every: Interval, weights: str = "live", best: bool = True, seed: int = 0):
        self.game = game
        self.every = every
        self.seed = seed
        self.weights = weights
        self.best = best

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result | None:
        """Measure and log the scalars; the first of those that may be better or worse decides about the checkpoint.

        Raises:
            UserError: the game measures something else than numbers.
        """
        label = "" if self.weights == "live" else f"[{self.weights}]"
        found = {f"game/{name}{label}": value for name, value in self.measure(network).items()}
        if found:
            better = {f"game/{name}{label}": way for name, way in self.game.better.items()}
            monitor.scalars(step, found, {name: way for name, way in better.items() if name in found})
        name = next((name for name in self.game.better if f"game/{name}{label}" in found), None)
        if name is None and self.game.better:
            raise UserError(
                f"game: {name_of(self.game)}.scalars: expected one of those that better names, "
                f"{', '.join(self.game.better)}; got {', '.join(found).replace('game/', '') or 'none'}"
            )
        if not self.best or name is None:
            return None
        words = ", ".join(f"{name.removeprefix('game/')} {value:.4g}" for name, value in found.items())
        cost = found[f"game/{name}{label}"] * (-1 if self.game.better[name] == "higher" else 1)
        return Result(f"step {step}: {words}", f"game/{name}{label}", cost)

    def measure(self, network: nn.Module) -> dict[str, float]:
        """The scalars of the game at a network, by name."""
        found = _asked(self.game, "scalars", network, self.seed)
        return {name: _number(self.game, name, value) for name, value in found.items()}


class GamePictures(Callback):
    """Writes what :meth:`gantrain.Game.pictures` draws to ``pictures/NAME_step_N.png`` and TensorBoard.

    Args:
        game: the game.
        every: the interval from one picture to the next.
        seed: the seed of the run. Before the pictures are drawn torch's generators are seeded from it.
    """

    writes: ClassVar[Mapping[str, str]] = {"pictures": "pictures of the game"}

    def __init__(self, game: Game, every: Interval, seed: int = 0):
        self.game = game
        self.every = every
        self.seed = seed

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> None:
        """Draw the pictures.

        Raises:
            UserError: the game draws something else than figures and images.
        """
        for name, picture in _asked(self.game, "pictures", network, self.seed).items():
            image = _image(self.game, name, picture)
            make_folder(folder / "pictures", parents=False)
            save_png(image, folder / "pictures" / f"{name}_step_{step:06d}.png")
            monitor.image(f"pictures/{name}", step, image)


def _asked(game: Game, method: str, network: nn.Module, seed: int) -> Mapping[str, Any]:
    """What a method of the game returns for a network.

    The modes of this network and of the players', and the states of torch's generators, are left as they were.
    """
    device = next(iter(game.players.values())).parameters[0].device
    seed = derive(seed, method)
    with eval_mode(network), eval_mode(game.everyone), seeded(seed, device), torch.no_grad(), UserCode("game", game):
        found = getattr(game, method)(network)
    who = f"game: {name_of(game)}.{method}"
    if not isinstance(found, Mapping):
        raise UserError(f"{who}: expected a dict by name, got {described(found)}")
    for name in found:
        if not isinstance(name, str) or not _NAMES[method].fullmatch(name):
            raise UserError(f"{who}: {name!r:.60}: expected a name of letters, digits, _, - and .")
    return found


def _number(game: Game, name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, int | float) or type(value).__module__ == "numpy" and getattr(value, "size", 0) == 1:
        return float(value)
    raise UserError(
        f"game: {name_of(game)}.scalars: {name}: expected a number or a tensor of one element, got {described(value)}"
    )


def _image(game: Game, name: str, picture: Any) -> Tensor:
    if isinstance(picture, Tensor):
        if picture.ndim == 3 and picture.shape[0] in (1, 3) and picture.dtype == torch.uint8:
            return picture.cpu()
    elif hasattr(picture, "savefig"):
        return rendered(picture)
    raise UserError(
        f"game: {name_of(game)}.pictures: {name}: expected a figure of matplotlib or a uint8 tensor of shape (1 or 3, "
        f"height, width), got {described(picture)}"
    )
