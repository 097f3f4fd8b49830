"""Perceptual path length: the smoothness of a generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.path_length import require_generator
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class PerceptualPathLength(Metric):
    """Mean and spread of the path lengths; the lowest and the highest per cent of the lengths are left out.

    Source: Karras et al., A style-based generator architecture for GANs, CVPR 2019, section 4.1, for the latent space z
    and paths taken at their start, as torch-fidelity does. The name of the value always carries the label of the
    distance in which lengths are measured.
    """

    key = "ppl"
    needs = ("lengths",)

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        require_generator(source)
        extractor.path_distance  # noqa: B018, which raises if its weights are missing

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        lengths = fake.lengths.numpy()
        low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
        kept = lengths[(low <= lengths) & (lengths <= high)]
        return {"perceptual_path_length": Value(float(kept.mean()), float(kept.std()))}

    def label(self, extractor: Extractor) -> str | None:
        return extractor.path_distance.label

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        distance = f"{extractor.path_distance.name}, of images that are not rounded"
        return {"path_distance": distance, "epsilon": options.epsilon}
