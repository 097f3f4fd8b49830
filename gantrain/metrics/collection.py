"""Statistics of the judged images, from which the metrics are computed."""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import MomentsByPart
from gantrain.metrics.accumulators.score_sums import ScoreSums
from gantrain.metrics.extraction import Accumulator, extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import path_lengths
from gantrain.metrics.sources.base import Source

# The extrapolation in the number of samples deals them into this many parts.
_PARTS = 4


class SampleStatistics:
    """Statistics of one draw of the judged images. Only those attributes exist that some metric needs.

    Attributes:
        moments: the moments of the features, for the Fréchet distance.
        score: the sums of class probabilities, for the Inception score.
        features: the features of all samples, for kernel distance, precision and recall.
        lengths: the lengths of paths, ``(samples,)``, for the perceptual path length.
    """

    moments: MomentsByPart
    score: ScoreSums
    features: Features
    lengths: Tensor


def collect_statistics(
    source: Source,
    samples: int,
    extractor: Extractor,
    needed: Set[str],
    batch_size: int,
    processes: Processes,
    options: Options,
) -> SampleStatistics:
    """The statistics of ``samples`` images of a source, collected in one pass over the images.

    Args:
        source: the source of the images.
        samples: the number of images.
        extractor: the network of their features.
        needed: names of attributes of :class:`SampleStatistics`.
        batch_size: images in one forward pass.
        processes: the processes that share the images.
        options: the options of the metrics.

    Raises:
        UserError: an image cannot be had, or does not fit the extractor.
    """
    d, device = extractor.dimensions, extractor.device
    statistics, accumulators = SampleStatistics(), list[Accumulator]()
    if "moments" in needed:
        parts = _PARTS if options.infinity else 1
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(options.seed))
        statistics.moments = MomentsByPart(order % parts, parts, d, device)
        accumulators.append(statistics.moments)
    if "score" in needed:
        statistics.score = ScoreSums(samples, options.splits, extractor.classes, options.seed, device)
        accumulators.append(statistics.score)
    if "features" in needed:
        statistics.features = Features(samples, d)
        accumulators.append(statistics.features)
    if accumulators:
        extract(source, samples, extractor, accumulators, batch_size, processes)
    if "lengths" in needed:
        statistics.lengths = path_lengths(source, samples, extractor.path_distance, options.epsilon, processes)
    return statistics
