"""Symmetric noise on the labels of a training set."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.utils.seeding import generator


def noisy(labels: Tensor | None, classes: int, probability: float, seed: int) -> Tensor | None:
    """Each label, independently with this probability, replaced by a class drawn uniformly from all of them.

    The true class is among them, so that a fraction ``probability * (classes - 1) / classes`` of the labels is wrong.
    This is the convention of Zhang et al., Understanding deep learning requires rethinking generalization, ICLR 2017,
    section 2 ("partially corrupted labels"), and of the comparison that Foret et al., Sharpness-aware minimization,
    ICLR 2021, section 3.3, take part in; they say no more than that labels are "randomly flipped". Elsewhere the true
    class is left out: a rate ``r`` of that kind is a probability ``r * classes / (classes - 1)`` here.

    Whether and to what a label changes is a function of the seed and of its place. A larger probability changes the
    same labels in the same way, and more.

    Args:
        labels: ``(n,)`` int64; they are not changed in place.
        classes: number of classes.
        probability: 0 for none.
        seed: of the noise.

    Raises:
        UserError: there are no labels.
    """
    if probability == 0:
        return labels
    if labels is None:
        raise UserError(f"data.label_noise: the data have no labels; expected 0, got {probability:g}")
    source = generator(seed, "label_noise")
    chance = torch.rand(len(labels), generator=source)
    drawn = torch.randint(classes, (len(labels),), generator=source)
    return torch.where(chance < probability, drawn, labels)
