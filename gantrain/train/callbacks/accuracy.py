"""How well a classifier does on data that it does not learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gantrain.compute.modes import eval_mode
from gantrain.data.spec import DataSpec
from gantrain.data.storage import place_samples
from gantrain.errors import UserError
from gantrain.games.classification import correct
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback, Result


class AccuracyEvaluation(Callback):
    """Loss and accuracy on a data set, logged as ``validation/loss`` and ``validation/accuracy``.

    Args:
        data: a data set of the classes that the classifier knows.
        every: training steps from one evaluation to the next.
        device: where the classifier is.
        chunk: number of samples in one forward pass.
    """

    def __init__(self, data: Any, every: int, device: torch.device | str = "cpu", chunk: int = 500):
        self.data = data
        self.every = every
        place_samples(data, device=device)
        self.device = device
        self.labels = data.labels.to(device)
        self.chunk = chunk

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> Result:
        """Evaluate the network, log the result, and say it in a line."""
        loss, accuracy = self.measure(network)
        monitor.scalars(step, {"validation/loss": loss, "validation/accuracy": accuracy})
        line = f"step {step}: validation accuracy {accuracy:.2%}, loss {loss:.4g}"
        return Result(line, "validation/accuracy", -accuracy)

    @torch.no_grad()
    def measure(self, network: nn.Module) -> tuple[float, float]:
        """Mean cross-entropy (without smoothing) and share of correct classifications, in evaluation mode."""
        with eval_mode(network):
            chunks = (chunk.to(self.device) for chunk in self.data.samples.split(self.chunk))
            logits = torch.cat([network(self.data.decode(chunk)) for chunk in chunks])
        return cross_entropy(logits, self.labels).item(), correct(logits, self.labels).mean().item()


def check(data: Any, learned: DataSpec, source: str) -> None:
    """Whether a classifier's accuracy can be measured on data.

    Args:
        data: a data set.
        learned: of the data that the classifier learns from.
        source: where the data set was named, for messages.

    Raises:
        UserError: the data have no labels, more classes, or samples of another shape.
    """
    if data.labels is None:
        raise UserError(f"{source}: the data have no labels, and accuracy is measured by them; choose labelled data")
    here, there = data.spec, learned
    if here.classes > there.classes:
        raise UserError(f"{source}: has {here.classes} classes, and the classifier knows {there.classes}")
    # Texts may have another length.
    if not there.vocabulary and tuple(here.shape) != tuple(there.shape):
        raise UserError(f"{source}: samples of shape {tuple(here.shape)}, the classifier is for {tuple(there.shape)}")
