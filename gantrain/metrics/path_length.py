"""Perceptual path length: how much a generator's images change along a short step between two latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.metrics.extractor import PathDistance
from gantrain.metrics.processes import PIECE, Processes
from gantrain.streams import derive, generator

if TYPE_CHECKING:
    from gantrain.metrics.sources import Generated


@dataclass(frozen=True)
class Paths:
    """What a generator's paths are made of.

    Attributes:
        generate: ``generate(z, labels, seed)`` to images ``(n, channels, height, width)`` in [-1, 1]; ``labels`` is
            None without classes, and the seed is that of noise that the network draws itself.
        latent_dim: length of z, which is standard normal.
    """

    generate: Callable[[Tensor, Tensor | None, int], Tensor]
    latent_dim: int


@torch.no_grad()
def path_length(
    source: Generated, samples: int, distance: PathDistance, epsilon: float, processes: Processes
) -> tuple[float, float]:
    """Mean and standard deviation over paths of ``d(G(z_0), G(z_0 + ε (z_1 - z_0))) / ε²``.

    Both ends of a path have the same label and the same noise. Of the distances the lowest and the highest per cent are
    left out. Images are not rounded to 8 bits, for then the step between two levels would be measured and not the path.
    Source: Karras et al., A style-based generator architecture for GANs, CVPR 2019, section 4.1, for paths that start
    in the latent space z.

    Args:
        source: the generator.
        samples: number of paths.
        distance: a squared one.
        epsilon: length of the step, relative to the path.
        processes: that share the paths; all get the result.

    Raises:
        UserError: the source has no latents, or its generator returns NaN.
    """
    distances = torch.zeros(samples, dtype=torch.float64)
    error = None
    try:
        for index in range(processes.rank, -(-samples // PIECE), processes.world):
            rows = torch.arange(index * PIECE, min((index + 1) * PIECE, samples))
            distances[rows] = _distances(source, index, rows, distance, epsilon).double().cpu()
    except UserError as found:
        error = found
    processes.agree(error)
    found = processes.sum(distances).numpy()
    low, high = np.percentile(found, 1, method="lower"), np.percentile(found, 99, method="higher")
    kept = found[(low <= found) & (found <= high)]
    return float(kept.mean()), float(kept.std())


def _distances(source: Generated, index: int, rows: Tensor, distance: PathDistance, epsilon: float) -> Tensor:
    if source.paths is None:
        raise UserError(f"{source.name}: ppl needs the generator's latents, and none were given")
    ends = torch.randn(2, PIECE, source.paths.latent_dim, generator=generator(source.seed, "evaluation paths", index))
    start, end = ends[:, : len(rows)]
    labels = source.labels_of(rows)
    noise = derive(source.seed, "evaluation paths noise", index)
    images = [source.paths.generate(z, labels, noise) for z in (start, start + epsilon * (end - start))]
    lengths = distance(*(_levels(x) for x in images)) / epsilon**2
    if not lengths.isfinite().all():
        raise UserError(f"{source.name}: a path holds NaN or infinity; the training has diverged")
    return lengths


def _levels(images: Tensor) -> Tensor:
    """[-1, 1] to 0 … 255, not rounded."""
    return images.float().add(1).mul(127.5).clamp(0, 255)
