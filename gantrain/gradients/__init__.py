"""Gradients of one player's objective at the current point: batches, precision, accumulation, loss scaling."""

from gantrain.gradients.context import GradientContext
from gantrain.gradients.evaluator import Evaluator

__all__ = ["Evaluator", "GradientContext"]
