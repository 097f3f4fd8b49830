"""Statistics of the judged images, from which the metrics are computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import MomentsByPart
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.accumulators.score_sums import ScoreSums
from gantrain.metrics.extraction import Accumulator, Pass, extract
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import path_lengths
from gantrain.metrics.sources.base import Source
from gantrain.metrics.statistics import Statistics, Wanted

# The extrapolation in the number of samples deals them into this many parts.
_PARTS = 4


class SampleStatistics(Statistics):
    """Statistics of one draw of the judged images. Only those attributes exist that some metric needs.

    Args:
        options: the options of the metrics.
        device: the device of the extractor, on which a metric may compute; the statistics themselves are on the CPU.

    Attributes:
        moments: the moments of the features, for the Fréchet distance.
        score: the sums of class probabilities, for the Inception score.
        features: ``(n, d)``, the features of all samples, for metrics that compare samples with each other.
        labels: ``(n,)``, the classes of all samples, for the Fréchet distance within each class.
        images: ``(n, channels, height, width)`` uint8, all samples, for metrics of the user's own.
        lengths: ``(n,)``, the lengths of paths, for the perceptual path length.
    """

    moments: MomentsByPart
    score: ScoreSums
    features: Tensor
    labels: Tensor
    images: Tensor
    lengths: Tensor

    def __init__(self, options: Options, device: torch.device | str = "cpu"):
        self.options = options
        self.device = torch.device(device)


def collect_statistics(
    source: Source,
    samples: int,
    wanted: Sequence[Wanted],
    batch_size: int,
    processes: Processes,
    options: Options,
) -> list[SampleStatistics]:
    """The statistics of ``samples`` images of a source, collected in one pass over the images.

    Args:
        source: the source of the images.
        samples: the number of images.
        wanted: the extractors, and names of attributes of :class:`SampleStatistics` for each.
        batch_size: images in one forward pass.
        processes: the processes that share the images.
        options: the options of the metrics.

    Returns:
        The statistics for each extractor.

    Raises:
        UserError: an image cannot be had, or does not fit an extractor.
    """
    found = [SampleStatistics(options, extractor.device) for extractor, _ in wanted]
    passes: list[Pass] = []
    features: list[Features | None] = []
    for statistics, (extractor, needed) in zip(found, wanted, strict=True):
        d, device, accumulators = extractor.dimensions, extractor.device, list[Accumulator]()
        if "moments" in needed:
            parts = _PARTS if options.infinity else 1
            order = torch.randperm(samples, generator=torch.Generator().manual_seed(options.seed))
            statistics.moments = MomentsByPart(order % parts, parts, d, device)
            accumulators.append(statistics.moments)
        if "score" in needed:
            statistics.score = ScoreSums(samples, options.splits, extractor.classes, options.seed, device)
            accumulators.append(statistics.score)
        features.append(Features(samples, d) if "features" in needed else None)
        passes.append(Pass(extractor, accumulators + [each for each in features[-1:] if each is not None]))
    pictures = Pictures(samples) if any("images" in needed for _, needed in wanted) else None
    if pictures is not None or any(each.accumulators for each in passes):
        extract(source, samples, passes, batch_size, processes, pictures)
    for statistics, (extractor, needed), values in zip(found, wanted, features, strict=True):
        if values is not None:
            statistics.features = values.values
        if pictures is not None and "images" in needed:
            statistics.images = pictures.values
        labels = source.labels_of(torch.arange(samples)) if "labels" in needed else None
        if labels is not None:
            statistics.labels = labels
        if "lengths" in needed:
            statistics.lengths = path_lengths(source, samples, extractor.path_distance, options.epsilon, processes)
    return found
