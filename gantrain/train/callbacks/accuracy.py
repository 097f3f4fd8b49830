"""The callback that measures a classifier's accuracy on data from which the classifier does not learn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gantrain.compute.modes import eval_mode
from gantrain.data.dataset import DataSet, Samples
from gantrain.data.spec import DataSpec
from gantrain.data.storage import place_samples
from gantrain.errors import UserError
from gantrain.games.classification import correct
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result
from gantrain.utils.abandon import between_batches


class AccuracyEvaluation(Callback):
    """Measures loss and accuracy on a data set, and logs them as ``validation/loss`` and ``validation/accuracy``.

    Args:
        data: the data set; it must have no classes that the classifier does not know.
        every: the number of training steps from one evaluation to the next.
        device: the device of the classifier.
        chunk: the number of samples in one forward pass.

    Raises:
        UserError: the data have no labels.
    """

    def __init__(self, data: DataSet, every: int, device: torch.device | str = "cpu", chunk: int = 500):
        if data.labels is None:
            raise UserError("accuracy: the data have no labels, and accuracy is measured by them; choose labelled data")
        self.data = data
        self.every = every
        place_samples(data, device=device)
        self.device = device
        self.labels = data.labels.to(device)
        self.chunk = chunk

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Evaluate the network, log the result, and return it as a line, with the cost of the checkpoint."""
        loss, accuracy = self.measure(network)
        monitor.scalars(step, {"validation/loss": loss, "validation/accuracy": accuracy})
        line = f"step {step}: validation accuracy {accuracy:.2%}, loss {loss:.4g}"
        return Result(line, "validation/accuracy", -accuracy)

    @torch.no_grad()
    def measure(self, network: nn.Module) -> tuple[float, float]:
        """The mean cross-entropy (without smoothing) and the share of correct classifications, in evaluation mode."""
        with eval_mode(network):
            logits = torch.cat([self._logits(network, chunk) for chunk in self.data.samples.split(self.chunk)])
        return cross_entropy(logits, self.labels).item(), correct(logits, self.labels).mean().item()

    def _logits(self, network: nn.Module, chunk: Samples) -> Tensor:
        between_batches()
        logits: Tensor = network(self.data.decode(chunk.to(self.device)))
        return logits


def require_known_classes(data: DataSet, learned: DataSpec, source: str) -> None:
    """Check that a classifier's accuracy can be measured on a data set.

    Args:
        data: the data set.
        learned: the spec of the data from which the classifier learns.
        source: the key or option that named the data set, for messages.

    Raises:
        UserError: the data have no labels, more classes than the classifier knows, or samples of another shape.
    """
    if data.labels is None:
        raise UserError(f"{source}: the data have no labels, and accuracy is measured by them; choose labelled data")
    here, there = data.spec, learned
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
