"""The networks whose features the metrics compare, as a config names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gantrain.config.base import Schema
from gantrain.config.types import FilePath, RunPath, Text

DINOV2 = ("dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14", "dinov2-vit-g-14")
CLIP = (
    *("clip-rn50", "clip-rn101", "clip-rn50x4", "clip-rn50x16", "clip-rn50x64"),
    *("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14", "clip-vit-l-14-336px"),
)
# All published networks; the names are torch-fidelity's, but for inception, which is its inception-v3-compat.
PUBLISHED = ("inception", "vgg16", *DINOV2, *CLIP)


class PublishedNetwork(Schema):
    """A published network, whose features metrics compare."""

    name: Literal[PUBLISHED] = "inception"  # type: ignore[valid-type]
    """The network: inception, vgg16, or one of DINOv2 or CLIP by torch-fidelity's name."""
    weights: FilePath | None = None
    """The file of the network's weights. null (the default) takes the file that torch-fidelity keeps, and downloads it
    if it is missing."""
    digest: Text | None = None
    """The SHA-256 of the file if it holds other weights than the published ones, or at least the first 8 digits of it.
    The names of the values then say so. Default null: the published weights."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def own_features(metric: Any) -> PublishedNetwork | str | None:
    """The features that stand beside a metric's own keys in a config; None if none do.

    Args:
        metric: an entry of ``evaluate.metrics``, which may be a validated part.
    """
    return metric.features if "features" in getattr(metric, "part_beside", ()) else None


Features = Annotated[PublishedNetwork | RunPath, Field(union_mode="left_to_right")]
"""A published network, or the folder of a classification run, whose classifier gives the features."""
