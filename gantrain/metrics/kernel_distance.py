"""The kernel distance; with InceptionV3 it is the KID."""

from __future__ import annotations

from typing import Any

from gantrain.errors import UserError
from gantrain.metrics.base import Metric
from gantrain.metrics.collection import SampleStatistics
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.options import Options
from gantrain.metrics.reference import Reference
from gantrain.metrics.report import Value
from gantrain.metrics.sources.base import Source


class KernelDistance(Metric):
    """The squared maximum mean discrepancy with the kernel ``(xᵀy / d + 1)³``: mean and spread over random subsets.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4; computed by torch-fidelity.
    """

    key = "kid"
    needs = ("features",)

    def require_images(self, source: Source, count: int, extractor: Extractor, options: Options) -> None:
        if count < options.subset_size:
            raise UserError(
                f"{source.name}: kid compares subsets of {options.subset_size} images and there are {count}; take more "
                "samples, or a smaller evaluate.subset_size (gantrain eval: --subset-size), whose values compare "
                "only with each other"
            )

    def measure(self, fake: SampleStatistics, real: Reference) -> dict[str, Value]:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

        result = kid_features_to_metric(
            fake.features,
            real.features,
            kid_subsets=fake.options.subsets,
            kid_subset_size=fake.options.subset_size,
            rng_seed=fake.options.seed,
            verbose=False,
        )
        return {"kid": Value(result[KEY_METRIC_KID_MEAN], result[KEY_METRIC_KID_STD])}

    def settings(self, extractor: Extractor, options: Options) -> dict[str, Any]:
        return {"subsets": options.subsets, "subset_size": options.subset_size, "seed": options.seed}
