"""Games: GANs, games given by a function, and toy games."""

from gantrain.games.function import FunctionGame, GeneralSum, Minimize, VectorField, ZeroSum

__all__ = ["FunctionGame", "GeneralSum", "Minimize", "VectorField", "ZeroSum"]
