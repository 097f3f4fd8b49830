"""What a draw of the judged images leaves for the metrics."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import torch

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import MomentsByPart
from gantrain.metrics.accumulators.score_sums import ScoreSums
from gantrain.metrics.extraction import extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import PathLengths, path_lengths
from gantrain.metrics.sources.base import Source

# Into how many parts the samples are dealt for the extrapolation in their number.
_PARTS = 4


@dataclass(frozen=True)
class Collected:
    """Of one draw; what no metric uses is None.

    Attributes:
        moments: for the Fréchet distance.
        score: for the Inception score.
        features: for kernel distance, precision and recall.
        lengths: for the perceptual path length.
    """

    moments: MomentsByPart | None = None
    score: ScoreSums | None = None
    features: Features | None = None
    lengths: PathLengths | None = None


def collect(
    source: Source,
    samples: int,
    extractor: Extractor,
    uses: Set[str],
    batch_size: int,
    processes: Processes,
    options: Options,
) -> Collected:
    """What metrics use of ``samples`` images of a source, in one pass of them.

    Args:
        source: of the images.
        samples: how many.
        extractor: of their features.
        uses: names of attributes of :class:`Collected`.
        batch_size: images in one forward pass.
        processes: that share the images.
        options: of the metrics.

    Raises:
        UserError: an image cannot be had, or does not fit the extractor.
    """
    d, device = extractor.dimensions, extractor.device

    def moments() -> MomentsByPart:
        parts = _PARTS if options.infinity else 1
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(options.seed))
        return MomentsByPart(order % parts, parts, d, device)

    makers = {
        "moments": moments,
        "score": lambda: ScoreSums(samples, options.splits, extractor.classes, options.seed, device),
        "features": lambda: Features(samples, d),
    }
    kept = {kind: maker() for kind, maker in makers.items() if kind in uses}
    if kept:
        extract(source, samples, extractor, list(kept.values()), batch_size, processes)
    lengths = None
    if "lengths" in uses:
        lengths = path_lengths(source, samples, extractor.path_distance, options.epsilon, processes)
    return Collected(**kept, lengths=lengths)
