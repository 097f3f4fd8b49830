"""Truncation: samples that are more typical, at the price of variety."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gantrain.config.user_code import UserCode


def truncate(z: Tensor, threshold: float, source: torch.Generator) -> Tensor:
    """Redraw the coordinates of standard normal vectors that are farther from 0 than a threshold.

    The result is normal, under the condition that no coordinate exceeds the threshold t: its variance is
    ``1 - 2 t φ(t) / (2 Φ(t) - 1)``, 0.153 for t = 0.7. Coordinates that do not exceed the threshold stay as they are.
    Source: Brock et al., Large scale GAN training for high fidelity natural image synthesis, ICLR 2019, section 3.1.

    Args:
        z: the vectors, of any shape.
        threshold: t, at least 0; at 0 every coordinate is 0.
        source: the generator of the random numbers, on the CPU.

    Examples:
        >>> source = torch.Generator().manual_seed(0)
        >>> z = truncate(torch.randn(1000, 100, generator=source), 0.7, source)
        >>> f"{z.abs().max():.2f} {z.var():.3f}"
        '0.70 0.153'
    """
    # By the inverse of the distribution function, since drawing until all fit takes long for a small threshold.
    reach = math.erf(threshold / math.sqrt(2))
    uniform = torch.rand(z.shape, generator=source, dtype=torch.float64).to(z.device).mul_(2).sub_(1)
    redrawn = torch.erfinv(uniform * reach).mul_(math.sqrt(2)).clamp_(-threshold, threshold)
    return torch.where(z.abs() > threshold, redrawn.to(z.dtype), z)


class Truncated(nn.Module):
    """A generator that truncates by itself, as the function ``(z, labels) -> samples`` that others are.

    Args:
        network: the generator; its method ``truncated(z, labels, psi)`` makes the samples.
        psi: how far samples are from the mean, as a share: 1 leaves them, at 0 all are the mean.
    """

    def __init__(self, network: nn.Module, psi: float):
        super().__init__()
        self.network = network
        self.psi = psi

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        with UserCode("truncated", self.network):
            samples: Tensor = self.network.truncated(z, labels, self.psi)  # type: ignore[operator]
        return samples


def truncates(network: nn.Module) -> bool:
    """Whether a generator has a method ``truncated(z, labels, psi)``."""
    return callable(getattr(network, "truncated", None))
