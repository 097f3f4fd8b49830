"""What is looked at while a run goes on: samples, metrics, accuracy, diagnosis."""

from gantrain.train.callbacks.base import Callback, Result

__all__ = ["Callback", "Result"]
