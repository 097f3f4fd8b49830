"""Symmetric noise on the labels of a training set."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.utils.seeding import generator


def noisy_labels(labels: Tensor | None, classes: int, probability: float, seed: int) -> Tensor | None:
    """Replace each label, independently with the given probability, by a class drawn uniformly from all classes.

    The draw includes the true class, so that a fraction ``probability * (classes - 1) / classes`` of the labels becomes
    wrong. This is the convention of Zhang et al., Understanding deep learning requires rethinking generalization, ICLR
    2017, section 2 ("partially corrupted labels"), and of the comparison in Foret et al., Sharpness-aware minimization,
    ICLR 2021, section 3.3, where the paper only says that labels are "randomly flipped". Other papers leave out the
    true class: their rate ``r`` corresponds to a probability ``r * classes / (classes - 1)``.

    The new label is a function of the seed and of the label's position. With a larger probability the same labels
    change in the same way, and further labels with them.

    Args:
        labels: ``(n,)`` int64; they are not changed in place.
        classes: the number of classes.
        probability: the probability; 0 returns the labels unchanged.
        seed: the seed of the noise.

    Raises:
        UserError: the probability is positive and there are no labels.
    """
    if probability == 0:
        return labels
    if labels is None:
        raise UserError(f"data.label_noise: the data have no labels; expected 0, got {probability:g}")
    source = generator(seed, "label_noise")
    chance = torch.rand(len(labels), generator=source)
    drawn = torch.randint(classes, (len(labels),), generator=source)
    return torch.where(chance < probability, drawn, labels)
