"""Training loops written by hand, as one would write them for a single experiment: what the benchmarks compare with.

They know nothing of gantrain. Each does what its paper says and nothing else: no log, no check, no settings beyond
those of the benchmark. Parameters are copied and interpolated by torch's operations on lists, and optimizers are
fused, so that they are as fast as such loops can be made without changing what they compute. Each gradient has passes
of its own. `tests/test_by_hand.py` holds that they compute what gantrain's loops compute.

The theoretical minimum of a step is the method `minimum` of each class: the forward passes, backward passes and
optimizer steps that an alternating step, or a step of SAM or SAMPa, cannot do without, on one batch and one draw of
latents that were made before. Nothing is drawn, copied, perturbed, averaged or restored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu, softplus
from torch.optim import SGD, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Step = Callable[[], object]
# A batch: samples and their labels, which the networks may ignore.
Batch = tuple[Tensor, Tensor | None]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]

# Name -> the loss of the discriminator on logits of real and fake samples, and that of the generator on those of fakes.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non_saturating": (
        lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
        lambda fake: softplus(-fake).mean(),
    ),
    "wasserstein": (lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
    "hinge": (lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda fake: -fake.mean()),
}


def batches(dataset: Any, size: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Batches of a data set of gantrain that lies in memory, shuffled anew in each epoch, without end."""
    samples = dataset.samples.to(device)
    labels = None if dataset.labels is None else dataset.labels.to(device)
    while True:
        order = torch.randperm(len(samples), device=samples.device)
        for rows in order.split(size)[: len(samples) // size]:
            yield dataset.decode(samples[rows]), None if labels is None else labels[rows]


@torch.no_grad()
def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.clone() for t in tensors]


@torch.no_grad()
def copy_(tensors: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(tensors), list(sources))


class GAN:
    """The loops of a GAN.

    Args:
        generator: the generator, which has the attribute `latent_dim`.
        discriminator: the discriminator, which returns logits.
        source: the batches, which are drawn by `next`.
        optimizer: makes the optimizer of a player.
        loss: the name of the loss.
        conditional: whether both networks are given the labels.
        r1: the weight of R1 and the number of steps from one R1 to the next, in alternating steps; none by default.
        ema: the decay of an average of the generator's weights, in alternating steps; none by default.
        latent: draws the latents of a batch; standard normal numbers by default.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        source: Iterator[Batch],
        optimizer: MakeOptimizer,
        loss: str = "non_saturating",
        conditional: bool = False,
        r1: tuple[float, int] | None = None,
        ema: float | None = None,
        latent: Callable[[Tensor], Tensor] | None = None,
    ):
        self.generator, self.discriminator = generator, discriminator
        self.source = source
        self.g_optimizer = optimizer(generator.parameters())
        self.d_optimizer = optimizer(discriminator.parameters())
        self.d_loss, self.g_loss = LOSSES[loss]
        self.conditional = conditional
        self.r1 = r1
        self.ema = None if ema is None else AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(ema))
        self.latent = latent or (lambda real: torch.randn(len(real), generator.latent_dim, device=real.device))  # type: ignore[arg-type]
        self.parameters = [*generator.parameters(), *discriminator.parameters()]
        self.steps = 0

    def batch(self) -> tuple[Tensor, Tensor | None, Tensor]:
        real, labels = next(self.source)
        return real, labels if self.conditional else None, self.latent(real)

    def d_gradient(self, real: Tensor, labels: Tensor | None, z: Tensor) -> None:
        penalised = self.r1 is not None and self.steps % self.r1[1] == 0
        with torch.no_grad():
            fake = self.generator(z, labels)
        real.requires_grad_(penalised)
        scores = self.discriminator(real, labels)
        loss = self.d_loss(scores, self.discriminator(fake, labels))
        if self.r1 is not None and penalised:
            weight, every = self.r1
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            loss = loss + weight * every * slope.square().flatten(1).sum(1).mean() / 2
        self.d_optimizer.zero_grad()
        loss.backward()

    def g_gradient(self, labels: Tensor | None, z: Tensor) -> None:
        self.discriminator.requires_grad_(False)
        loss = self.g_loss(self.discriminator(self.generator(z, labels), labels))
        self.g_optimizer.zero_grad()
        loss.backward()
        self.discriminator.requires_grad_(True)

    def gradients(self) -> None:
        """Both players' gradients at the current point, on a new batch."""
        real, labels, z = self.batch()
        self.d_gradient(real, labels, z)
        self.g_gradient(labels, z)

    def advance(self) -> None:
        self.d_optimizer.step()
        self.g_optimizer.step()

    def alternating(self) -> None:
        """Gradient descent ascent in which the generator sees the discriminator's step."""
        real, labels, z = self.batch()
        self.d_gradient(real, labels, z)
        self.d_optimizer.step()
        self.g_gradient(labels, z)
        self.g_optimizer.step()
        if self.ema is not None:
            self.ema.update_parameters(self.generator)
        self.steps += 1

    def simultaneous(self) -> None:
        """Gradient descent ascent in which both players move from one joint point."""
        self.gradients()
        self.advance()

    def proximal(self, inner_steps: int, relaxation: float = 1.0) -> None:
        """RAPP. With two inner steps it is extragradient, or EG+ where the relaxation is below 1.

        Without constraints EG+ is also what CEG+ computes.
        """
        anchor = copied(self.parameters)
        for _ in range(inner_steps):
            self.gradients()
            copy_(self.parameters, anchor)
            self.advance()
        if relaxation != 1.0:
            self.relax(anchor, relaxation)

    def optimistic(self) -> None:
        """Extragradient whose first gradient is that of the step before."""
        anchor = copied(self.parameters)
        if self.steps:
            self.advance()  # along the gradients that are still there
        self.gradients()
        copy_(self.parameters, anchor)
        self.advance()
        self.steps += 1

    @torch.no_grad()
    def relax(self, anchor: Sequence[Tensor], relaxation: float) -> None:
        torch._foreach_lerp_(self.parameters, list(anchor), 1 - relaxation)

    def lookahead(self, step: Step, inner_steps: int, relaxation: float) -> Step:
        """Lookahead around `step`."""

        def steps() -> Iterator[None]:
            anchor = copied(self.parameters)
            for count in itertools.count(1):
                step()
                if count % inner_steps == 0:
                    self.relax(anchor, relaxation)
                    copy_(anchor, self.parameters)
                yield

        going = steps()
        return lambda: next(going)

    def minimum(self) -> Step:
        """An alternating step that does only what it cannot do without; see the head of this file."""
        real, labels, z = self.batch()
        d_parameters, g_parameters = list(self.discriminator.parameters()), list(self.generator.parameters())

        def step() -> None:
            with torch.no_grad():
                fake = self.generator(z, labels)
            loss = self.d_loss(self.discriminator(real, labels), self.discriminator(fake, labels))
            for p in d_parameters:
                p.grad = None
            loss.backward()
            self.d_optimizer.step()
            for p in d_parameters:
                p.requires_grad = False
            for p in g_parameters:
                p.grad = None
            self.g_loss(self.discriminator(self.generator(z, labels), labels)).backward()
            self.g_optimizer.step()
            for p in d_parameters:
                p.requires_grad = True

        return step


class Classifier:
    """The loops of a classifier, by SGD with momentum and weight decay.

    Args:
        network: the classifier, which returns logits.
        source: the batches, which are drawn by `next`.
        sgd: the arguments of SGD.
        rho: the radius of the perturbation.
        mix: SAMPa's weight of the gradient at the predicted point.
    """

    def __init__(self, network: nn.Module, source: Iterator[Batch], sgd: dict[str, Any], rho: float, mix: float = 0.2):
        self.network, self.source, self.sgd, self.rho, self.mix = network, source, sgd, rho, mix
        self.parameters = list(network.parameters())
        self.optimizer = SGD(self.parameters, fused=True, **sgd)
        self.ahead: tuple[Batch, list[Tensor]] | None = None  # SAMPa's next batch, and the gradient predicted for it

    def gradient(self, batch: Batch) -> list[Tensor]:
        self.optimizer.zero_grad()
        cross_entropy(self.network(batch[0]), batch[1]).backward()  # type: ignore[arg-type]  # the data have labels
        return [p.grad for p in self.parameters]  # type: ignore[misc]  # each parameter has a gradient

    @torch.no_grad()
    def climb(self, gradient: list[Tensor]) -> None:
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradient)))
        torch._foreach_add_(self.parameters, torch._foreach_mul(gradient, self.rho / length))

    @torch.no_grad()
    def predict(self, gradient: list[Tensor]) -> None:
        """Go where the optimizer would go along a gradient, without its state."""
        lr, momentum = self.sgd["lr"], self.sgd["momentum"]
        move = list(torch._foreach_add(gradient, self.parameters, alpha=self.sgd["weight_decay"]))
        if self.optimizer.state:
            velocity = [self.optimizer.state[p]["momentum_buffer"] for p in self.parameters]
            torch._foreach_add_(move, velocity, alpha=momentum)
        torch._foreach_add_(self.parameters, move, alpha=-lr)

    def plain(self) -> None:
        self.gradient(next(self.source))
        self.optimizer.step()

    def sam(self) -> None:
        batch = next(self.source)
        gradient = self.gradient(batch)
        point = copied(self.parameters)
        self.climb(gradient)
        self.gradient(batch)
        copy_(self.parameters, point)
        self.optimizer.step()

    def sampa(self) -> None:
        if self.ahead is None:
            batch = next(self.source)
            self.ahead = batch, self.gradient(batch)
        batch, slope = self.ahead
        following = next(self.source)
        point = copied(self.parameters)
        self.climb(slope)
        perturbed = self.gradient(batch)
        copy_(self.parameters, point)
        self.predict(slope)
        predicted = self.gradient(following)
        copy_(self.parameters, point)
        for p, a, b in zip(self.parameters, perturbed, predicted, strict=True):
            p.grad = torch.lerp(a, b, self.mix)
        self.optimizer.step()
        self.ahead = following, predicted

    def minimum(self, gradients: int = 2) -> Step:
        """A step of SAM or SAMPa that does only what it cannot do without; see the head of this file."""
        samples, labels = next(self.source)
        assert labels is not None

        def step() -> None:
            for _ in range(gradients):
                for p in self.parameters:
                    p.grad = None
                cross_entropy(self.network(samples), labels).backward()
            self.optimizer.step()

        return step
