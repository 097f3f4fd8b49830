"""The interface of callbacks, which look at a run while it goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from gantrain.runs.monitor import Monitor

if TYPE_CHECKING:
    from gantrain.config.types import Interval


@dataclass(frozen=True)
class Result:
    """The result of an evaluation, by which checkpoints are compared.

    Attributes:
        line: the result in words, as one line.
        name: the name of the scalar by which checkpoints are compared.
        cost: the value of this scalar, or minus the value if a higher value is better. A lower cost is better. With NaN
            the line is shown, and no checkpoint is compared.
        hopeless: why the run ends here, as one that diverged, in a few words; empty (the default) if it goes on.
    """

    line: str
    name: str
    cost: float
    hopeless: str = ""


def beyond(values: Mapping[str, float], bounds: Mapping[str, float] | None, lower_is_better: Mapping[str, bool]) -> str:
    """Which value lies on the worse side of its bound, or is NaN, in a few words; empty if none does.

    Args:
        values: the values by name.
        bounds: the bounds of some of them.
        lower_is_better: the directions.
    """
    for name, bound in (bounds or {}).items():
        value = values[name]
        if not (value <= bound if lower_is_better[name] else value >= bound):
            return f"{name} is {value:.4g}, worse than {bound:g} (evaluate.stop_if_worse_than)"
    return ""


class Callback(ABC):
    """Looks at the network that a run trains, and leaves the run as it is.

    A callback of your own says in :meth:`run` what it does::

        class Norm(gt.Callback):
            def run(self, folder, monitor, step, network):
                monitor.scalars(step, {"norm": sum(p.norm() ** 2 for p in network.parameters()) ** 0.5})

    A config names it in the list ``callbacks: [{target: "my_callbacks:Norm", every: 100}]``. The arguments of its
    constructor are its keys. The arguments called ``game`` (the :class:`gantrain.Game`, whose ``sample`` draws
    samples), ``data`` (the training :class:`gantrain.data.DataSet`) and ``config`` (the whole config, validated) are
    supplied, if the constructor has them. A constructor of your own calls ``super().__init__(every)``.

    An error in a callback costs no training: ``run.on_error`` says what happens. After the call the modes and buffers
    of all networks are set back, and random numbers that the callback draws change no run.

    Args:
        every: the interval from one call to the next: a number of training steps, ``{kimg: 10}`` or ``{gradients:
            500}``. Default 500.

    Attributes:
        weights: the weights of the network that the callback gets: the name of an average, such as "ema", "live" (the
            weights that are trained) or "anchor" (those of the last outer iterate). None stands for the first average
            if the run keeps one, and for "live" otherwise.
        at_end: whether the last step has a call, too, if none is due.
        all_processes: whether all processes call the callback, or the first process alone.
        columns: the names of scalars that the callback logs and by which runs are compared. TensorBoard's table of
            hyper-parameters has a column for each; by default none.
        runs_game: whether it runs other networks of the game than the one that it is given. A sharded run gathers all
            of them for such a callback; by default true.
        writes: the files and folders in the run's folder that the callback writes, and what lies there:
            ``{"pictures": "curves"}``. ``gantrain train --dry-run`` shows them.
    """

    weights: str | None = None
    at_end = True
    all_processes = False
    columns: Sequence[str] = ()
    runs_game = True
    writes: ClassVar[Mapping[str, str]] = {}

    def __init__(self, every: Interval = 500):
        self.every = every

    @abstractmethod
    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result | str | None:
        """Look at the network, and write the findings into the run's folder and log.

        Args:
            folder: the folder of the run.
            monitor: the log of the run. ``monitor.scalars(step, {name: value})`` writes a row of ``metrics.jsonl`` and
                TensorBoard's scalars; ``better={name: "higher"}`` lets ``gantrain compare`` rank the value. ``image``,
                ``figure`` and ``text`` go to TensorBoard.
            step: the number of training steps taken.
            network: the evaluated network of the game, with the weights that :attr:`weights` names. It is in the mode
                in which it trains; call ``network.eval()`` if you want the other.

        Returns:
            The result by which checkpoints are compared; lines that are shown; or None.
        """

    def finish(self, folder: Path) -> None:  # noqa: B027 - most callbacks have nothing to do then
        """Look back on the run when it ends: at its last step, by a signal, or because it diverged.

        Only the first process calls this, once what there is to save is saved. An error is told, and fails nothing.

        Args:
            folder: the folder of the run.
        """
