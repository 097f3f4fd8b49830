"""A run's network in a file that other programs run: ONNX, torch.export, or weights with a description."""

from gantrain.export.file import FORMATS, exported
from gantrain.export.weights import load_network

__all__ = ["FORMATS", "exported", "load_network"]
