"""Callbacks, which look at a run while it goes on: samples, metrics, accuracy, diagnosis."""

from gantrain.train.callbacks.base import Callback, Result

__all__ = ["Callback", "Result"]
