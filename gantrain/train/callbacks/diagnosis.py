"""A diagnosis of a game while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.analysis.advice import Advice, advise
from gantrain.analysis.diagnosis import Diagnosis, diagnose
from gantrain.config.sections import Diagnose
from gantrain.data.batch import Batches
from gantrain.games.base import Game
from gantrain.plotting import figures
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback
from gantrain.utils.seeding import derive


class GameDiagnosis(Callback):
    """Spectrum, rotation, L and rho, and sharpness at the current weights of all players.

    The batches are the same at every look, so that what changes is the game. Scalars are named ``diagnose/…``; the
    spectrum is a picture, the advice a text of TensorBoard.

    Args:
        game: the game.
        data: the training data.
        section: how often the game is diagnosed, and how.
        batch_size: samples in a batch.
        seed: of the run.
        device: where the game is.
    """

    weights = "live"

    def __init__(
        self,
        game: Game,
        data: Any,
        section: Diagnose,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ):
        self.section = section
        self.every = section.every
        self.game = game
        self.batches = Batches(data, batch_size, derive(seed, "diagnose"), device=device)

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> None:
        """Measure and log."""
        found = self.measure()
        log(monitor, step, found, advise(found))

    def measure(self, there: Any = None) -> Diagnosis:
        """The diagnosis; lazy penalties count with their average. ``there`` is as in :func:`diagnose`."""
        section = self.section
        return diagnose(
            self.game,
            lambda index: self.batches(index, None),
            section.batches,
            section.eigenvalues,
            section.radius,
            there,
        )


def log(monitor: Monitor, step: int, found: Diagnosis, advice: Advice) -> None:
    """Write a diagnosis as scalars, a picture and a text."""
    monitor.scalars(step, found.scalars)
    monitor.figure("diagnose/spectrum", step, figures.spectrum(found.jacobian, found.hessians))
    monitor.text("diagnose/advice", "\n\n".join(advice.lines), step)
