"""Sums over batches of features that several processes share: moments, scores, the features themselves."""

from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments, MomentsByPart
from gantrain.metrics.accumulators.score_sums import ScoreSums

__all__ = ["Features", "Moments", "MomentsByPart", "ScoreSums"]
