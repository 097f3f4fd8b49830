"""StyleGAN2's penalty on the generator's slopes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gantrain.data.step_means import StepMeans
from gantrain.games.calls import output_of
from gantrain.games.penalties.base import Penalty, Score, Scored
from gantrain.games.penalties.slopes import root

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, PositiveFloat, PositiveInt


class PathLength(Penalty):
    """``weight E (||J^T y|| - a)^2``, a term of the generator: steps of one length in w are steps of one length in x.

    ``J`` is the Jacobian of the samples in w, ``y`` standard normal divided by the root of the number of pixels, and
    ``a`` a running average of the norms over all processes, from 0 on: ``a <- a + decay (E ||J^T y|| - a)``, once in a
    training step in which the penalty is due. With ``data.accumulation`` its first evaluation uses the ``a`` before. If
    w has a row for each layer, as that of ``stylegan2`` has, the norm is the root of the mean of their squares. For a
    generator without styles, w is z.

    The generator runs once more for the penalty, on every ``shrink``-th sample of the batch.
    Source: Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, section 3.2.

    Args:
        weight: the weight of the penalty.
        decay: the share of the new mean in the average.
        shrink: the distance in the batch from one sample that is used to the next.
        every: the number of training steps from one application to the next.
    """

    logged_as = "path_length"

    def __init__(
        self, weight: PositiveFloat = 2.0, decay: Fraction = 0.01, shrink: PositiveInt = 2, every: PositiveInt = 4
    ):
        super().__init__(weight, every)
        self.decay = decay
        self.shrink = shrink
        self._average = torch.zeros(())
        self._means = StepMeans()

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        assert fake.latents is not None and fake.generator is not None
        used = slice(None, None, self.shrink)  # the same rows of a batch on any number of processes
        z, labels = fake.latents[used], None if fake.labels is None else fake.labels[used]
        generator: Any = fake.generator
        if hasattr(generator, "styles"):
            w = generator.styles(z, labels)
            w = w if w.requires_grad else w.requires_grad_(True)
            samples = generator.synthesise(w, z)
        else:
            w = z.detach().requires_grad_(True)
            samples = output_of(generator, w, labels, "game.generator.model", None, "samples")
        pixels = math.prod(samples.shape[2:])
        noise = batch.normal("path_length", *samples.shape[1:])[used].to(samples.dtype) / math.sqrt(pixels)
        (slopes,) = torch.autograd.grad((samples * noise).sum(), w, create_graph=True)
        squared = slopes.float().square().sum(dim=-1)
        squared = squared if squared.dim() == 1 else squared.mean(dim=1)
        lengths = root(squared)
        average = self._average
        mean = self._means(batch, lengths)
        if mean is not None:
            self._average = torch.lerp(self._average.to(mean.device), mean[0], self.decay)
            if batch.part[1] == 1:  # of several micro-batches each sees the same average
                average = self._average
        return (lengths - average.to(lengths.device)).square().mean()

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average = state["average"]
        self._means.forget()

    def scalars(self) -> dict[str, Tensor]:
        return {"average": self._average}
