"""Callbacks, which look at a run while it goes on: samples, metrics, predictions, diagnosis, what a game measures."""

from gantrain.train.callbacks.accuracy import AccuracyEvaluation
from gantrain.train.callbacks.advice import TrainingAdvice
from gantrain.train.callbacks.base import Callback, Result
from gantrain.train.callbacks.correlation import CorrelationEvaluation
from gantrain.train.callbacks.diagnosis import GameDiagnosis
from gantrain.train.callbacks.metrics import MetricEvaluation
from gantrain.train.callbacks.own import GamePictures, GameScalars
from gantrain.train.callbacks.samples import SampleGrid

__all__ = [
    "AccuracyEvaluation",
    "Callback",
    "CorrelationEvaluation",
    "GameDiagnosis",
    "GamePictures",
    "GameScalars",
    "MetricEvaluation",
    "Result",
    "SampleGrid",
    "TrainingAdvice",
]
