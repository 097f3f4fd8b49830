"""The callback that diagnoses a game while the game trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantrain.analysis.advice import Advice, advise
from gantrain.analysis.diagnosis import Diagnosis, diagnose
from gantrain.analysis.method import Method
from gantrain.config.sections import Diagnose
from gantrain.data.batch import Batches
from gantrain.data.dataset import DataSet
from gantrain.distributed.processes import Processes
from gantrain.games.base import Game
from gantrain.plotting import figures
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback
from gantrain.utils.seeding import derive


class GameDiagnosis(Callback):
    """Measures spectrum, rotation, L, rho and sharpness of the game at the current weights of all players.

    Every diagnosis takes the same batches, so that differences come from the weights alone. The scalars are logged
    under names ``diagnose/…``; TensorBoard also gets the spectrum as a picture and the advice as a text. The processes
    share the measurements.

    Args:
        game: the game.
        data: the training data set.
        section: the section ``diagnose`` of the config.
        batch_size: the number of samples in a batch.
        seed: the seed of the run.
        device: the device of the game.
        method: how the run trains, which the advice is compared with; None (the default) if that is not known.
    """

    weights = "live"
    all_processes = True

    def __init__(
        self,
        game: Game,
        data: DataSet,
        section: Diagnose,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        method: Method | None = None,
    ):
        self.section = section
        self.method = method
        self.every = section.every
        self.game = game
        self.batches = Batches(data, batch_size, derive(seed, "diagnose"), device=device)

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> None:
        """Diagnose the game, and log the diagnosis."""
        processes = Processes.launched()
        found = self.measure(processes=processes)
        if processes.rank == 0:
            log(monitor, step, found, advise(found, self.method))

    def measure(self, there: Any = None, processes: Processes | None = None) -> Diagnosis:
        """The diagnosis of the game. Lazy penalties enter with their average over the steps.

        Args:
            there: the point ``later`` of :func:`~gantrain.analysis.diagnosis.diagnose`; None for no such point.
            processes: the processes that share the measurements, as in that function.
        """
        section = self.section
        return diagnose(
            self.game,
            lambda index: self.batches(index, None),
            section.batches,
            section.eigenvalues,
            section.radius,
            there,
            processes,
        )


def log(monitor: Monitor, step: int, found: Diagnosis, advice: Advice) -> None:
    """Write a diagnosis as scalars, a picture and a text."""
    monitor.scalars(step, found.scalars)
    monitor.figure("diagnose/spectrum", step, figures.spectrum(found.jacobian, found.hessians))
    monitor.text("diagnose/advice", "\n\n".join([*advice.plain, *advice.lines]), step)
