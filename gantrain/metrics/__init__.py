"""Metrics of generated images: Fréchet distance, Inception score, kernel distance, precision and recall."""

from gantrain.metrics.classifier import Classifier
from gantrain.metrics.evaluation import METRICS, evaluate
from gantrain.metrics.extractor import Extractor, Output
from gantrain.metrics.files import Folder, open_images
from gantrain.metrics.inception import Inception
from gantrain.metrics.make import make_extractor
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import Paths
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources import Generated, Images, Source

__all__ = [
    "METRICS",
    "Classifier",
    "Extractor",
    "Folder",
    "Generated",
    "Images",
    "Inception",
    "Options",
    "Output",
    "Paths",
    "Report",
    "Source",
    "Value",
    "evaluate",
    "make_extractor",
    "open_images",
]
