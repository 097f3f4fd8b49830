"""Contracts of parts, as pytest classes: inherit from one, let ``make`` return your part, and run pytest."""

from gantrain.testing.loss import LossContract
from gantrain.testing.model import (
    ClassifierContract,
    DiscriminatorContract,
    GeneratorContract,
    ModelContract,
    PerturberContract,
)
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
    "PerturberContract",
]
