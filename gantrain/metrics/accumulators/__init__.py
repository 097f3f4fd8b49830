"""Statistics of features, accumulated over batches and processes: moments, sums of scores, the features themselves."""

from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments, MomentsByPart
from gantrain.metrics.accumulators.score_sums import ScoreSums

__all__ = ["Features", "Moments", "MomentsByPart", "ScoreSums"]
