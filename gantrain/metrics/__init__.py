"""Metrics of generated images: Fréchet and kernel distance, Inception score, precision, recall, density, coverage,
authenticity, path length."""

from gantrain.config.metrics import METRICS, MetricDescription, ReportedValue
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.density import DensityCoverage, density_coverage
from gantrain.metrics.evaluation import evaluate
from gantrain.metrics.extractors.base import Extractor, Output
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.clip import CLIP
from gantrain.metrics.extractors.dinov2 import DINOv2
from gantrain.metrics.extractors.factory import make_extractor
from gantrain.metrics.extractors.inception import Inception
from gantrain.metrics.extractors.vgg16 import VGG16
from gantrain.metrics.memorisation import authenticity
from gantrain.metrics.nearest_samples import Neighbours, neighbours
from gantrain.metrics.options import Options
from gantrain.metrics.precision_recall import PrecisionRecall
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Report, Value
from gantrain.metrics.sources.base import Generated, Images, Paths, Source
from gantrain.metrics.sources.files import Folder, open_images

__all__ = [
    "CLIP",
    "METRICS",
    "VGG16",
    "Classifier",
    "DINOv2",
    "DensityCoverage",
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
    "PrecisionRecall",
    "Reference",
    "Report",
    "ReportedValue",
    "SampleStatistics",
    "Source",
    "Value",
    "authenticity",
    "density_coverage",
    "evaluate",
    "make_extractor",
    "neighbours",
    "open_images",
]
