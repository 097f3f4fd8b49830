"""Games: GANs, three games of a classifier, games given by a function; toy games lie in ``games.toy``."""

from gantrain.games import losses, penalties
from gantrain.games.adversarial_training import AdversarialTraining
from gantrain.games.base import Game, Objective, Player
from gantrain.games.classification import Classification
from gantrain.games.domain_adversarial import DomainAdversarial
from gantrain.games.function import FunctionGame, GeneralSum, Minimize, VectorField, ZeroSum
from gantrain.games.gan import GAN

__all__ = [
    "GAN",
    "AdversarialTraining",
    "Classification",
    "DomainAdversarial",
    "FunctionGame",
    "Game",
    "GeneralSum",
    "Minimize",
    "Objective",
    "Player",
    "VectorField",
    "ZeroSum",
    "losses",
    "penalties",
]
