"""Statistics of the judged images, from which the metrics are computed."""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import MomentsByPart
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.accumulators.score_sums import ScoreSums
from gantrain.metrics.extraction import Accumulator, extract
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import path_lengths
from gantrain.metrics.sources.base import Source
from gantrain.metrics.statistics import Statistics

# The extrapolation in the number of samples deals them into this many parts.
_PARTS = 4


class SampleStatistics(Statistics):
    """Statistics of one draw of the judged images. Only those attributes exist that some metric needs.

    Args:
        options: the options of the metrics.

    Attributes:
        moments: the moments of the features, for the Fréchet distance.
        score: the sums of class probabilities, for the Inception score.
        features: ``(n, d)``, the features of all samples, for kernel distance, precision and recall.
        images: ``(n, channels, height, width)`` uint8, all samples, for metrics of the user's own.
        lengths: ``(n,)``, the lengths of paths, for the perceptual path length.
    """

    moments: MomentsByPart
    score: ScoreSums
    features: Tensor
    images: Tensor
    lengths: Tensor

    def __init__(self, options: Options):
        self.options = options


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
    statistics, accumulators = SampleStatistics(options), list[Accumulator]()
    features = Features(samples, d) if "features" in needed else None
    pictures = Pictures(samples) if "images" in needed else None
    if "moments" in needed:
        parts = _PARTS if options.infinity else 1
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(options.seed))
        statistics.moments = MomentsByPart(order % parts, parts, d, device)
        accumulators.append(statistics.moments)
    if "score" in needed:
        statistics.score = ScoreSums(samples, options.splits, extractor.classes, options.seed, device)
        accumulators.append(statistics.score)
    if features is not None:
        accumulators.append(features)
    if accumulators or pictures is not None:
        extract(source, samples, extractor, accumulators, batch_size, processes, pictures)
    if features is not None:
        statistics.features = features.values
    if pictures is not None:
        statistics.images = pictures.values
    if "lengths" in needed:
        statistics.lengths = path_lengths(source, samples, extractor.path_distance, options.epsilon, processes)
    return statistics
