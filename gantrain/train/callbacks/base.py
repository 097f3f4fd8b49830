"""The interface of what is looked at while a run goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gantrain.runs.monitor import Monitor


@dataclass(frozen=True)
class Result:
    """What a look at a network found.

    Attributes:
        line: in words.
        name: of the scalar by which checkpoints are compared.
        cost: its value, or minus its value where more is better: the lower, the better.
    """

    line: str
    name: str
    cost: float


class Callback(ABC):
    """A look at a run's product, which leaves the run as it is.

    Attributes:
        every: training steps from one look to the next.
        weights: which weights are looked at: "ema", "live" or "anchor"; None for the average where there is one.
        all_processes: whether all processes take part, or the first alone.
    """

    every: int
    weights: str | None = None
    all_processes = False

    @abstractmethod
    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result | None:
        """Look at ``network`` and write what there is to see.

        Args:
            folder: of the run.
            monitor: of the run.
            step: training steps taken.
            network: with the weights that are looked at.
        """
