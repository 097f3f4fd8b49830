"""Statistics of images, accumulated over batches and processes: moments, sums of scores, features, the images."""

from gantrain.metrics.accumulators.features import Features
from gantrain.metrics.accumulators.moments import Moments, MomentsByPart
from gantrain.metrics.accumulators.pictures import Pictures
from gantrain.metrics.accumulators.score_sums import ScoreSums

__all__ = ["Features", "Moments", "MomentsByPart", "Pictures", "ScoreSums"]
