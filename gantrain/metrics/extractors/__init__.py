"""Networks whose features the metrics compare: InceptionV3, classifiers of your own, LPIPS."""

from gantrain.metrics.extractors.base import Extractor, Output, PathDistance
from gantrain.metrics.extractors.factory import make_extractor

__all__ = ["Extractor", "Output", "PathDistance", "make_extractor"]
