"""Data sets, and batches that are a function of ``(seed, draw)``."""

from gantrain.data.batch import Batch, Batches
from gantrain.data.digits import Digits
from gantrain.data.gaussian_ring import GaussianRing
from gantrain.data.spec import DataSpec
from gantrain.data.text import Text

__all__ = ["Batch", "Batches", "DataSpec", "Digits", "GaussianRing", "Text"]
