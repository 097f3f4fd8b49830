"""The Fréchet distance within each class; with InceptionV3 it is the intra-class FID."""

from __future__ import annotations

import warnings
from statistics import mean, pstdev

import torch
from torch import Tensor

from gantrain.errors import Notice, UserError
from gantrain.metrics.accumulators.moments import Moments
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.frechet_distance import frechet_distance
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source

# The smallest number of images that have a covariance.
_LEAST = 2


class IntraClassFrechetDistance(Metric):
    """The mean over the classes of the Fréchet distance between fake and real samples of one class, and its spread.

    Source: Miyato and Koyama, cGANs with projection discriminator, ICLR 2018, section 4.
    """

    key = "intra_class_fid"
    needs = ("features", "labels")

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        labels = source.labels_of(torch.arange(count))
        if labels is None:
            raise UserError(
                f"{source.name}: intra_class_fid compares class by class, and these images have no classes; it is of "
                "conditional games, and of images in class folders"
            )
        numbers = labels.bincount()
        fewest, smallest = min((n, label) for label, n in enumerate(numbers.tolist()) if n)
        if fewest < _LEAST:
            raise UserError(
                f"{source.name}: intra_class_fid needs at least {_LEAST} images of each class, and there is {fewest} "
                f"of class {_name(source, smallest)} among {count}; take more"
            )
        if fewest <= extractor.dimensions:
            warnings.warn(
                Notice(
                    f"{source.name}: {fewest} images of class {_name(source, smallest)} for {extractor.dimensions} "
                    "features: their covariance is singular and the Fréchet distance of the class is far too large; "
                    f"take more than {extractor.dimensions} of each class, and compare it only with values of equally "
                    "many images"
                ),
                stacklevel=2,
            )

    def require_alike(self, fake: Source, samples: int, real: Source, real_samples: int) -> None:
        named = fake.class_names is not None and real.class_names is not None
        mine, others = _classes(fake, samples, named), _classes(real, real_samples, named)
        if {*mine} == {*others} and mine != others:
            raise UserError(
                f"{fake.name}: intra_class_fid compares class by class, and the classes of {real.name} are in another "
                f"order: {', '.join(others)[:60]}"
            )
        if mine != others:
            some = min({*mine} ^ {*others})
            lacking = real.name if some in mine else fake.name
            raise UserError(
                f"{lacking}: intra_class_fid compares class by class, and there is no image of class {some}; take "
                "more, or compare with images of the same classes"
            )

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        # The classes are the same, in the same order; their numbers need not be.
        pairs = zip(fake.labels.unique(), real.labels.unique(), strict=True)
        distances = [
            frechet_distance(_moments(fake.features, fake.labels, a), _moments(real.features, real.labels, b))
            for a, b in pairs
        ]
        return {"intra_class_fid": Value(mean(distances), pstdev(distances))}


def _moments(features: Tensor, labels: Tensor, label: Tensor) -> Moments:
    moments = Moments(features.shape[1])
    moments.add_features(features[labels == label])
    return moments


def _classes(source: Source, count: int, named: bool) -> list[str]:
    """The names, or the numbers, of the classes of so many images, in the order of their numbers."""
    labels = source.labels_of(torch.arange(count))
    found = [] if labels is None else labels.unique().tolist()
    return [_name(source, label) if named else str(label) for label in found]


def _name(source: Source, label: int) -> str:
    return str(label if source.class_names is None else source.class_names[label])
