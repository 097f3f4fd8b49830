"""Contracts that every part keeps, as pytest classes: inherit one, make your part, and its checks run on it."""

from gantrain.testing.loss import LossContract
from gantrain.testing.model import ClassifierContract, DiscriminatorContract, GeneratorContract, ModelContract
from gantrain.testing.oracle import OracleContract
from gantrain.testing.outer import OuterContract

__all__ = [
    "ClassifierContract",
    "DiscriminatorContract",
    "GeneratorContract",
    "LossContract",
    "ModelContract",
    "OracleContract",
    "OuterContract",
]
