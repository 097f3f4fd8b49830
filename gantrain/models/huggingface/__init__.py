"""Classifiers of the library transformers, of texts and of images, fine-tuned or trained from scratch."""

from gantrain.models.huggingface.images import HuggingFaceImageClassifier
from gantrain.models.huggingface.texts import HuggingFace

__all__ = ["HuggingFace", "HuggingFaceImageClassifier"]
