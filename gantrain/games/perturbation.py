"""Perturbations of samples: the ball in which they lie, and projected gradient ascent inside it.

A ball is a set of offsets ``d`` with ``||d|| <= radius`` around each sample, in units of the samples as networks see
them. Images are in [-1, 1], and so are perturbed images: an offset may not take a value out of this range.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gantrain.data.batch import Batch


class Ball(ABC):
    """A ball around each sample. Offsets and gradients are ``(n, *shape)``.

    Args:
        radius: the radius.
    """

    def __init__(self, radius: float):
        self.radius = radius

    @abstractmethod
    def project(self, offsets: Tensor) -> Tensor:
        """The nearest offsets in the ball, in the Euclidean distance."""

    @abstractmethod
    def steepest(self, gradients: Tensor) -> Tensor:
        """The offsets of norm 1 along which a function with these gradients grows fastest; 0 where a gradient is 0."""

    @abstractmethod
    def squash(self, values: Tensor) -> Tensor:
        """Any values smoothly to offsets in the ball; small values are multiplied by the radius."""

    @abstractmethod
    def draw(self, like: Tensor, batch: Batch) -> Tensor:
        """Offsets that are uniform in the ball, in the shape of ``like``."""

    def move(self, samples: Tensor, offsets: Tensor) -> Tensor:
        """The samples moved by offsets in the ball. Images stay in [-1, 1].

        A value that an augmentation has put out of this range is not moved further out.
        """
        moved = samples + offsets
        if samples.dim() != 4:
            return moved
        return torch.minimum(torch.maximum(moved, samples.clamp(max=-1)), samples.clamp(min=1))


class LInf(Ball):
    """``|d_i| <= radius`` for each value of a sample."""

    def project(self, offsets: Tensor) -> Tensor:
        return offsets.clamp(-self.radius, self.radius)

    def steepest(self, gradients: Tensor) -> Tensor:
        return gradients.sign()

    def squash(self, values: Tensor) -> Tensor:
        return self.radius * values.tanh()

    def draw(self, like: Tensor, batch: Batch) -> Tensor:
        return (2 * batch.uniform("offset", *like.shape[1:]) - 1).to(like.dtype) * self.radius


class L2(Ball):
    """``||d||_2 <= radius`` for each sample."""

    def project(self, offsets: Tensor) -> Tensor:
        length = _length(offsets)
        return torch.where(length > self.radius, self.radius / length, 1.0) * offsets

    def steepest(self, gradients: Tensor) -> Tensor:
        return _unit(gradients)

    def squash(self, values: Tensor) -> Tensor:
        # The square root has no derivative at 0, and tanh(s) / s is 1 there.
        squared = values.flatten(1).square().sum(1).view(-1, *[1] * (values.dim() - 1))
        length = torch.where(squared > 0, squared, 1).sqrt()
        return self.radius * torch.where(squared > 0, length.tanh() / length, 1.0) * values

    def draw(self, like: Tensor, batch: Batch) -> Tensor:
        direction = _unit(batch.normal("offset", *like.shape[1:]))
        share = batch.uniform("length", *[1] * (like.dim() - 1)) ** (1 / like[0].numel())
        return (direction * share).to(like.dtype) * self.radius


class ProjectedAscent:
    """Projected gradient ascent (PGD): ``d <- P(d + step_size v)``, with the steepest direction ``v`` at ``x + d``.

    ``P`` projects onto the ball, and images then into [-1, 1]. For the maximum norm ``v`` is the sign of the gradient,
    for the Euclidean norm the gradient divided by its length. Source: Madry et al., Towards deep learning models
    resistant to adversarial attacks, ICLR 2018, section 2.1.

    Args:
        ball: the ball.
        steps: the number of steps; each costs a forward and a backward pass.
        step_size: the length of a step, in the norm of the ball.
        random: whether the ascent starts at a random offset in the ball, and not at 0.
    """

    def __init__(self, ball: Ball, steps: int, step_size: float, random: bool):
        self.ball = ball
        self.steps = steps
        self.step_size = step_size
        self.random = random

    @torch.no_grad()
    def __call__(self, function: Callable[[Tensor], Tensor], samples: Tensor, batch: Batch) -> Tensor:
        """The perturbed samples, without a graph.

        Args:
            function: the function of the samples that is climbed, a sum over them.
            samples: ``(n, *shape)``.
            batch: the batch, from which the random start is drawn.
        """
        moved = self.ball.move(samples, self.ball.draw(samples, batch)) if self.random else samples
        for _ in range(self.steps):
            with torch.enable_grad():
                moved = moved.detach().requires_grad_(True)
                (gradient,) = torch.autograd.grad(function(moved), moved)
            offsets = moved.detach() - samples + self.step_size * self.ball.steepest(gradient)
            moved = self.ball.move(samples, self.ball.project(offsets))
        return moved.detach()


def _length(offsets: Tensor) -> Tensor:
    """The Euclidean length of each offset, in a shape that multiplies the offsets."""
    return torch.linalg.vector_norm(offsets.flatten(1), dim=1).view(-1, *[1] * (offsets.dim() - 1))


def _unit(offsets: Tensor) -> Tensor:
    length = _length(offsets)
    return offsets / torch.where(length > 0, length, 1.0)
