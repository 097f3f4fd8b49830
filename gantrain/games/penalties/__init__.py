"""Penalties: terms that are added to the objectives of a GAN's discriminator and generator."""

from gantrain.games.penalties.approximate import ApproximateR1, ApproximateR2
from gantrain.games.penalties.auxiliary_classifier import AuxiliaryClassifier
from gantrain.games.penalties.base import Penalty, Score, Scored
from gantrain.games.penalties.consistency import Consistency
from gantrain.games.penalties.feature_matching import FeatureMatching
from gantrain.games.penalties.lecam import LeCam
from gantrain.games.penalties.orthogonal import Orthogonal
from gantrain.games.penalties.path_length import PathLength
from gantrain.games.penalties.slopes import DRAGAN, R1, R2, WGANGP

__all__ = [
    "DRAGAN",
    "R1",
    "R2",
    "WGANGP",
    "ApproximateR1",
    "ApproximateR2",
    "AuxiliaryClassifier",
    "Consistency",
    "FeatureMatching",
    "LeCam",
    "Orthogonal",
    "PathLength",
    "Penalty",
    "Score",
    "Scored",
]
