"""Toy games with known solutions."""

from gantrain.games.toy.cycles import Forsaken, GlobalForsaken, PolarGame
from gantrain.games.toy.dirac import DiracGAN
from gantrain.games.toy.game import SolvedGame, ToyGame
from gantrain.games.toy.linear import Bilinear, LowerBound, Quadratic
from gantrain.games.toy.random_quadratic import RandomQuadratic

__all__ = [
    "Bilinear",
    "DiracGAN",
    "Forsaken",
    "GlobalForsaken",
    "LowerBound",
    "PolarGame",
    "Quadratic",
    "RandomQuadratic",
    "SolvedGame",
    "ToyGame",
]
