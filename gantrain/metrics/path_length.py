"""Path lengths: the change of a generator's images along a short step between two latents."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import Diverged, UserError
from gantrain.metrics.extractors.base import PathDistance
from gantrain.metrics.sources.base import PIECE, Generated, Paths, Source
from gantrain.utils.abandon import between_batches
from gantrain.utils.seeding import derive, generator


@torch.no_grad()
def path_lengths(source: Source, samples: int, distance: PathDistance, epsilon: float, processes: Processes) -> Tensor:
    """``d(G(z_0), G(z_0 + ε (z_1 - z_0))) / ε²`` for pairs of latents.

    Both ends have the same label and the same noise. Images are not rounded to 8 bits: rounding would measure the step
    between two levels instead of the path.

    Args:
        source: a generator that was given its paths.
        samples: the number of paths.
        distance: d, a squared distance.
        epsilon: ε, the length of the step relative to the path.
        processes: the processes that share the paths; all of them get the result.

    Returns:
        ``(samples,)``, float64.

    Raises:
        UserError: the source is no generator, was not given its paths, or returns NaN.
    """
    generator_source, paths = require_generator(source)
    distances = torch.zeros(samples, dtype=torch.float64)
    with processes.all_work():
        for index in range(processes.rank, -(-samples // PIECE), processes.group_size):
            between_batches()
            rows = torch.arange(index * PIECE, min((index + 1) * PIECE, samples))
            distances[rows] = _distances(generator_source, paths, index, rows, distance, epsilon).double().cpu()
    return processes.all_reduce_sum(distances)


def require_generator(source: Source) -> tuple[Generated, Paths]:
    """The source as a generator, and its paths.

    Raises:
        UserError: the source is no generator, or was not given its paths.
    """
    if not isinstance(source, Generated):
        raise UserError(f"{source.name}: ppl is of a generator, and these are images")
    if source.paths is None:
        raise UserError(f"{source.name}: ppl needs the generator's latents, and none were given")
    return source, source.paths


def _distances(
    source: Generated, paths: Paths, index: int, rows: Tensor, distance: PathDistance, epsilon: float
) -> Tensor:
    ends = torch.randn(2, PIECE, paths.latent_dim, generator=generator(source.seed, "evaluation paths", index))
    start, end = ends[:, : len(rows)]
    labels = source.labels_of(rows)
    noise = derive(source.seed, "evaluation paths noise", index)
    images = [paths.generate(z, labels, noise) for z in (start, start + epsilon * (end - start))]
    lengths = distance(*(_levels(x) for x in images)) / epsilon**2
    if not lengths.isfinite().all():
        raise Diverged(f"{source.name}: a path holds NaN or infinity; the training has diverged")
    return lengths


def _levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] as levels from 0 to 255, not rounded; those with alpha are laid over white."""
    levels = images.float().add(1).mul(127.5).clamp(0, 255)
    return levels if levels.shape[1] != 4 else torch.lerp(levels.new_tensor(255.0), levels[:, :3], levels[:, 3:] / 255)
