"""How much a generator's images change along a short step between two latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics.extractors.base import PathDistance
from gantrain.metrics.sources.base import PIECE
from gantrain.utils.seeding import derive, generator

if TYPE_CHECKING:
    from gantrain.metrics.sources.base import Generated


@dataclass(frozen=True)
class PathLengths:
    """Of many paths.

    Attributes:
        values: ``(samples,)`` float64.
        label: of their distance.
    """

    values: Tensor
    label: str


@torch.no_grad()
def path_lengths(
    source: Generated, samples: int, distance: PathDistance, epsilon: float, processes: Processes
) -> PathLengths:
    """``d(G(z_0), G(z_0 + ε (z_1 - z_0))) / ε²`` for pairs of latents.

    Both ends have the same label and the same noise. Images are not rounded to 8 bits, for then the step between two
    levels would be measured and not the path.

    Args:
        source: the generator.
        samples: number of paths.
        distance: d, a squared one.
        epsilon: ε, the length of the step relative to the path.
        processes: that share the paths; all get the result.

    Raises:
        UserError: the generator returns NaN.
    """
    distances = torch.zeros(samples, dtype=torch.float64)
    with processes.raise_on_all():
        for index in range(processes.rank, -(-samples // PIECE), processes.group_size):
            rows = torch.arange(index * PIECE, min((index + 1) * PIECE, samples))
            distances[rows] = _distances(source, index, rows, distance, epsilon).double().cpu()
    return PathLengths(processes.all_reduce_sum(distances), distance.label)


def _distances(source: Generated, index: int, rows: Tensor, distance: PathDistance, epsilon: float) -> Tensor:
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
