"""Metrics of generated images: Fréchet distance, Inception score, kernel distance, precision and recall."""

from gantrain.metrics.evaluation import METRICS, evaluate
from gantrain.metrics.extractors.base import Extractor, Output
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.factory import make_extractor
from gantrain.metrics.extractors.inception import Inception
from gantrain.metrics.options import Options
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources.base import Generated, Images, Paths, Source
from gantrain.metrics.sources.files import Folder, open_images

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
