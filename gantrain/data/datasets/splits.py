"""The part of a training set that is held out for validation, and the part that is left."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.data.datasets.label_noise import noisy
from gantrain.errors import UserError
from gantrain.utils.seeding import generator


def training_part(
    samples: Tensor,
    labels: Tensor | None,
    classes: int,
    split: str,
    validation: float,
    label_noise: float = 0.0,
    noise_seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """What is left of a training set, its labels noisy, or what is held out of it, its labels clean.

    Args:
        samples: ``(n, ...)``, the whole training set.
        labels: ``(n,)``, or None.
        classes: number of classes.
        split: "validation" for what is held out, else what is left.
        validation: see :func:`rows`.
        label_noise: see :func:`~gantrain.data.datasets.label_noise.noisy`. It is drawn for the whole set, so that
            a sample's label does not depend on what is held out.
        noise_seed: of the label noise.

    Raises:
        UserError: nothing is held out, or nothing left; there is to be noise but there are no labels.
    """
    if split != "validation":
        labels = noisy(labels, classes, label_noise, noise_seed)
        if validation == 0:
            return samples, labels
    chosen = rows(len(samples), split, validation)
    return samples[chosen], None if labels is None else labels[chosen]


def rows(count: int, split: str, validation: float) -> Tensor:
    """The rows of a part of a training set, in ascending order.

    Which samples are held out is a fixed function of ``count`` and ``validation``, the same in every run, so that two
    data sets that differ in ``split`` alone never share a sample. A larger part contains every smaller one.

    Args:
        count: samples of the training set.
        split: "validation" for what is held out, else what is left.
        validation: the fraction held out, rounded to whole samples.

    Raises:
        UserError: the part is empty.
    """
    order = torch.randperm(count, generator=generator(0, "validation"))
    held = round(validation * count)
    chosen = order[:held] if split == "validation" else order[held:]
    if not len(chosen):
        raise UserError(
            f"data.validation: {validation:g} of {count} training samples leaves the {split} part empty; "
            "expected a fraction between 0 and 1, such as 0.1"
        )
    return chosen.sort().values
