"""Games: GANs, games of a classifier, regression, games without data, games of a function; toys in ``games.toy``."""

from gantrain.games import losses, penalties
from gantrain.games.adversarial_training import AdversarialTraining
from gantrain.games.base import ClassifyingGame, Game, GenerativeGame, Objective, Player, PredictingGame
from gantrain.games.classification import Classification
from gantrain.games.cournot import Cournot
from gantrain.games.domain_adversarial import DomainAdversarial
from gantrain.games.function import FunctionGame, GeneralSum, Minimize, VectorField, ZeroSum
from gantrain.games.gan import GAN
from gantrain.games.matrix import Matrix
from gantrain.games.regression import Regression
from gantrain.games.sharded import shard_players

__all__ = [
    "GAN",
    "AdversarialTraining",
    "Classification",
    "ClassifyingGame",
    "Cournot",
    "DomainAdversarial",
    "FunctionGame",
    "Game",
    "GeneralSum",
    "GenerativeGame",
    "Matrix",
    "Minimize",
    "Objective",
    "Player",
    "PredictingGame",
    "Regression",
    "VectorField",
    "ZeroSum",
    "losses",
    "penalties",
    "shard_players",
]
