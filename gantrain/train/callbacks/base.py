"""The interface of callbacks, which look at a run while it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gantrain.runs.monitor import Monitor


@dataclass(frozen=True)
class Result:
    """The result of an evaluation, by which checkpoints are compared.

    Attributes:
        line: the result in words, as one line.
        name: the name of the scalar by which checkpoints are compared.
        cost: the value of this scalar, or minus the value if a higher value is better. A lower cost is better.
    """

    line: str
    name: str
    cost: float


class Callback(ABC):
    """Looks at the network that a run trains, and leaves the run as it is.

    Attributes:
        every: the number of training steps from one call to the next.
        weights: the weights of the network that the callback gets: "ema" (the average), "live" (the weights that are
            trained) or "anchor" (those of the last outer iterate). None stands for the average if the run keeps one,
            and for "live" otherwise.
        all_processes: whether all processes call the callback, or the first process alone.
    """

    every: int
    weights: str | None = None
    all_processes = False

    @abstractmethod
    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result | None:
        """Look at the network, and write the findings into the run's folder and log.

        Args:
            folder: the folder of the run.
            monitor: the log of the run.
            step: the number of training steps taken.
            network: the evaluated network of the game, with the weights that :attr:`weights` names.

        Returns:
            The result by which checkpoints are compared; None if the callback does not compare them.
        """
