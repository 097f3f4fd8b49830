"""The metrics that need the features themselves: kernel distance, precision and recall."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.metrics.processes import Processes

# Rows of a matrix of distances that are held at a time.
_CHUNK = 1000


class Features:
    """All features, float32 on the CPU: ``4 d`` bytes a sample.

    Args:
        samples: how many there will be.
        dimensions: d.

    Attributes:
        values: ``(samples, d)``.
    """

    def __init__(self, samples: int, dimensions: int):
        self.values = torch.zeros(samples, dimensions)

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        self.values[rows] = features.cpu()

    def merge(self, processes: Processes) -> None:
        # The rows of other processes are zero here.
        self.values = processes.sum(self.values)


def kernel_distance(fake: Tensor, real: Tensor, subsets: int, subset_size: int, seed: int) -> tuple[float, float]:
    """The squared maximum mean discrepancy with the kernel ``(xᵀy / d + 1)³``: mean and std over random subsets.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4; computed by torch-fidelity.

    Args:
        fake: ``(n, d)``, n at least ``subset_size``.
        real: ``(m, d)``, likewise.
        subsets: number of subsets.
        subset_size: samples in each.
        seed: of the subsets.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    options = {"kid_subsets": subsets, "kid_subset_size": subset_size, "rng_seed": seed, "verbose": False}
    found = kid_features_to_metric(fake, real, **options)
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


def precision_recall(fake: Tensor, real: Tensor, neighbourhood: int) -> tuple[float, float]:
    """The share of fakes within the manifold of the real samples, and of real ones within that of the fakes.

    A manifold is the union of the balls around samples that reach their k-th nearest neighbour. Source: Kynkäänniemi
    et al., Improved precision and recall metric for assessing generative models, NeurIPS 2019, eq. 1 and 2; computed by
    torch-fidelity.

    Args:
        fake: ``(n, d)``, n above ``neighbourhood``.
        real: ``(m, d)``, likewise.
        neighbourhood: k.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    options = {"prc_neighborhood": neighbourhood, "prc_batch_size": _CHUNK, "save_cpu_ram": True, "verbose": False}
    found = prc_features_to_metric(fake, real, **options)
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]
