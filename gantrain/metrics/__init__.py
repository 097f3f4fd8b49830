"""Metrics of generated images: Fréchet distance, Inception score, kernel distance, precision, recall, path length."""

from gantrain.config.metrics import METRICS, MetricDescription, ReportedValue
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.evaluation import evaluate
from gantrain.metrics.extractors.base import Extractor, Output
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.factory import make_extractor
from gantrain.metrics.extractors.inception import Inception
from gantrain.metrics.neighbours import Neighbours, neighbours
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
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
    "Metric",
    "MetricDescription",
    "Neighbours",
    "Options",
    "Output",
    "Paths",
    "Reference",
    "Report",
    "ReportedValue",
    "SampleStatistics",
    "Source",
    "Value",
    "evaluate",
    "make_extractor",
    "neighbours",
    "open_images",
]
