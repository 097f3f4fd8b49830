"""Perceptual path length: the smoothness of a generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import Collected
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Generated, Source


class PerceptualPathLength(Metric):
    """Mean and spread of the path lengths, without the lowest and the highest per cent of them.

    Source: Karras et al., A style-based generator architecture for GANs, CVPR 2019, section 4.1, for the latent space z
    and paths taken at their start, as torch-fidelity does. The name always carries the distance that lengths are
    measured in.
    """

    key = "ppl"
    compares = False
    uses = "lengths"

    def check(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        if not isinstance(source, Generated):
            raise UserError(f"{source.name}: ppl is of a generator, and these are images")
        if source.paths is None:
            raise UserError(f"{source.name}: ppl needs the generator's latents, and none were given")
        extractor.path_distance  # noqa: B018, its weights may be missing

    def values(self, fake: Collected, real: Reference, extractor: Extractor, options: Options) -> dict[str, Value]:
        lengths = fake.lengths.values.numpy()
        low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
        kept = lengths[(low <= lengths) & (lengths <= high)]
        name = f"perceptual_path_length[{fake.lengths.label}]"
        return {name: Value(float(kept.mean()), float(kept.std()))}

    def about(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        distance = f"{extractor.path_distance.name}, of images that are not rounded"
        return {"path_distance": distance, "epsilon": options.epsilon}
