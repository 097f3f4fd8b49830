"""A run's network in a file that other programs run: ONNX, torch.export, or weights with a description."""

from gantrain.exporting.file import FORMATS, exported
from gantrain.exporting.weights import load_network

__all__ = ["FORMATS", "exported", "load_network"]
