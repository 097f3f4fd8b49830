"""What the callbacks that compare predictions with labels share, on data from which the network does not learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gantrain.compute.modes import eval_mode
from gantrain.config.types import Interval
from gantrain.data.adopted import as_data_set
from gantrain.data.batch import FixedBatch
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.data.storage import place_samples
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.games.base import Attack
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result, beyond
from gantrain.utils.abandon import between_batches
from gantrain.utils.seeding import derive

# The seed of the attacks' random numbers, the same for all runs so that these can be compared.
_SEED = derive(0, "evaluation")
# The number of samples that are attacked at once; attacks keep the graph of a forward pass.
_ATTACKED = 100


class PredictionEvaluation(Callback):
    """Measures loss and scores on a data set, and logs each as ``validation/NAME``. The processes share the samples.

    Under an attack of the game they are called ``validation/NAME[ATTACK]``.

    Args:
        data: the data set, whose labels the network knows.
        every: the interval from one evaluation to the next.
        device: the device of the network.
        chunk: the number of samples in one forward pass.
        attacks: the game's attacks, by name.
        bounds: bounds of ``loss`` and of scores beyond which the run ends; default none.

    Raises:
        UserError: the data have no labels.
    """

    all_processes = True

    def __init__(
        self,
        data: DataSet,
        every: Interval,
        device: torch.device | str = "cpu",
        chunk: int = 500,
        attacks: Mapping[str, Attack] = MappingProxyType({}),
        bounds: Mapping[str, float] | None = None,
    ):
        data = as_data_set(data)
        if data.labels is None:
            raise UserError("evaluate: the data have no labels, and predictions are compared with them; choose others")
        self.data = data
        self.every = every
        place_samples(data, device=device)
        self.device = device
        self.labels = data.labels.to(device)
        self.chunk = chunk
        self.runs_game = bool(attacks)
        self.attacks = attacks
        self.bounds = bounds

    @abstractmethod
    def scored(self, outputs: Tensor) -> dict[str, float]:
        """The loss, called ``loss``, and the scores by name.

        Args:
            outputs: ``(n, classes)``, what the network returns for all samples.
        """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of what :meth:`scored` returns; first the score by which checkpoints are compared."""

    @property
    def columns(self) -> list[str]:  # type: ignore[override]
        """The names of the values in the log."""
        under = ["", *(f"[{attack}]" for attack in self.attacks)]
        return [f"validation/{name}{attack}" for attack in under for name in self.names]

    def words(self, found: Mapping[str, float]) -> str:
        """The values as the line of an evaluation says them."""
        return ", ".join(f"{name} {value:{'.2%' if 'accuracy' in name else '.4g'}}" for name, value in found.items())

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Evaluate the network, log the result, and return it as a line, with the cost of the checkpoint."""
        found = self.measure(network, Processes.launched())
        better = {f"validation/{name}": "lower" if name.startswith("loss") else "higher" for name in found}
        monitor.scalars(step, {f"validation/{name}": value for name, value in found.items()}, better)
        best = [name for name in found if name.partition("[")[0] == self.names[0]][-1]
        hopeless = beyond(found, self.bounds, {name: name == "loss" for name in found})
        return Result(f"step {step}: validation {self.words(found)}", f"validation/{best}", -found[best], hopeless)

    @torch.no_grad()
    def measure(self, network: nn.Module, processes: Processes | None = None) -> dict[str, float]:
        """The values of :meth:`scored` in evaluation mode, and for each attack those called ``NAME[ATTACK]``.

        Args:
            network: the network, which is the same in all processes.
            processes: the processes that share the samples, all of which call this and get the same values: those of
                one process, since the chunks are the same. None (the default) for this process alone.
        """
        processes = processes or Processes()
        found: dict[str, float] = {}
        for name, attack in {"": None, **self.attacks}.items():
            outputs = self._outputs(network, attack, processes)
            label = f"[{name}]" if name else ""
            found |= {f"{score}{label}": value for score, value in self.scored(outputs).items()}
        return found

    def _outputs(self, network: nn.Module, attack: Attack | None, processes: Processes) -> Tensor:
        """What the network returns for all samples, as they are or under an attack: with n processes, each of them runs
        every n-th chunk."""
        count, size = len(self.data.samples), self.chunk if attack is None else min(self.chunk, _ATTACKED)
        mine: dict[int, Tensor] = {}
        with processes.all_work(), eval_mode(network):
            for first in range(0, count, size)[processes.rank :: processes.group_size]:
                between_batches()
                last = min(first + size, count)
                samples = self.data.decode(self.data.samples[first:last].to(self.device))
                batch = FixedBatch(samples, self.labels[first:last], first, _SEED)
                mine[first] = network(samples if attack is None else attack(network, batch))
        # The first process has a chunk, and the others may have none.
        example = next(iter(mine.values()), None)
        form = processes.broadcast_object(None if example is None else (example.shape[1:], example.dtype))
        assert form is not None  # as there is at least one sample
        outputs = torch.zeros(count, *form[0], dtype=form[1], device=self.device)
        for first, part in mine.items():
            outputs[first : first + len(part)] = part
        # The rows that other processes have are zero, so that the sum of the bytes puts all rows together as they are.
        return processes.all_reduce_sum(outputs.view(torch.uint8)).view(outputs.dtype)


def require_known_labels(data: DataSet, learned: DataSpec, source: str) -> None:
    """Check that a network's predictions can be compared with the labels of a data set.

    Args:
        data: the data set.
        learned: the spec of the data from which the network learns.
        source: the key or option that named the data set, for messages.

    Raises:
        UserError: the data have no labels, labels of another kind, more classes than the network knows, or samples of
            another shape.
    """
    if data.labels is None:
        raise UserError(f"{source}: the data have no labels, and accuracy is measured by them; choose labelled data")
    here, there = data.spec, learned
    if here.numeric != there.numeric:
        kinds = ("numbers", "classes") if here.numeric else ("classes", "numbers")
        raise UserError(f"{source}: the labels are {kinds[0]}, and the network predicts {kinds[1]}; choose other data")
    if here.classes > there.classes:
        raise UserError(
            f"{source}: has {here.classes} classes, and the classifier knows {there.classes}; choose other data"
        )
    # Texts may be shorter or longer than those from which the classifier learns.
    if not there.vocabulary and tuple(here.shape) != tuple(there.shape):
        raise UserError(
            f"{source}: samples of shape {tuple(here.shape)}, the classifier is for {tuple(there.shape)}; choose other "
            "data"
        )
