"""Sums of class probabilities, from which the Inception score follows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.special import xlogy

from gantrain.distributed.processes import Processes


class ScoreSums:
    """Sums over each split of the shuffled samples, from which the Inception score of the split follows.

    With ``p`` the probabilities of the classes for a sample and ``q`` their mean over the split, the score is
    ``exp(E_x KL(p ‖ q)) = exp(E_x Σ_y p log p - Σ_y q log q)``; so two sums are enough, and memory does not grow with
    the number of samples. Shuffle and splits are torch-fidelity's.

    Args:
        samples: the number of samples that will be added, at least one for each split.
        splits: the number of splits.
        classes: the number of logits.
        seed: the seed of the shuffle.
        device: where the sums are kept.
    """

    def __init__(self, samples: int, splits: int, classes: int, seed: int, device: torch.device | str = "cpu"):
        order = np.random.RandomState(seed).permutation(samples)
        bounds = [i * samples // splits for i in range(splits + 1)]
        split_of = np.empty(samples, dtype=np.int64)
        split_of[order] = np.repeat(np.arange(splits), np.diff(bounds))
        self._split_of = torch.from_numpy(split_of)
        self._count = torch.tensor(np.diff(bounds), dtype=torch.float64, device=device)
        self._p = torch.zeros(splits, classes, dtype=torch.float64, device=device)
        self._p_log_p = torch.zeros(splits, dtype=torch.float64, device=device)

    def update(self, rows: Tensor, features: Tensor, logits: Tensor) -> None:
        logits = logits.to(self._p)
        p = logits.softmax(1)
        split = self._split_of[rows].to(p.device)
        self._p.index_add_(0, split, p)
        self._p_log_p.index_add_(0, split, (p * logits.log_softmax(1)).sum(1))

    def merge(self, processes: Processes) -> None:
        self._p, self._p_log_p = processes.all_reduce_sum(self._p), processes.all_reduce_sum(self._p_log_p)

    @property
    def scores(self) -> Tensor:
        """The Inception score of each split, ``(splits,)``."""
        q = self._p / self._count[:, None]
        return (self._p_log_p / self._count - xlogy(q, q).sum(1)).exp()
