"""Division of a training set into a validation part, which is held out, and a training part."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import Tensor

from gantrain.data.dataset import Samples
from gantrain.data.datasets.label_noise import noisy_labels
from gantrain.errors import UserError
from gantrain.utils.seeding import generator

AnySamples = TypeVar("AnySamples", bound=Samples)


def training_part(
    samples: AnySamples,
    labels: Tensor | None,
    classes: int,
    split: str,
    validation: float,
    label_noise: float = 0.0,
    noise_seed: int = 0,
) -> tuple[AnySamples, Tensor | None]:
    """Select the validation part of a training set with its clean labels, or the training part with noisy labels.

    Args:
        samples: the samples of the whole training set, ``(n, ...)``.
        labels: ``(n,)`` int64, or None.
        classes: the number of classes.
        split: "validation", or any other name for the training part.
        validation: the fraction that is held out; see :func:`split_rows`.
        label_noise: the probability of noise; see :func:`gantrain.data.datasets.label_noise.noisy_labels`. The noise is
            drawn for the whole set, so that a sample's label does not depend on which samples are held out.
        noise_seed: the seed of the label noise.

    Returns:
        The samples and the labels of the part.

    Raises:
        UserError: the part is empty, or there is label noise but there are no labels.
    """
    if split != "validation":
        labels = noisy_labels(labels, classes, label_noise, noise_seed)
        if validation == 0:
            return samples, labels
    chosen = split_rows(len(samples), split, validation)
    return cast(AnySamples, samples[chosen]), None if labels is None else labels[chosen]


def split_rows(count: int, split: str, validation: float) -> Tensor:
    """The rows of the samples in a part of a training set, in ascending order, int64.

    The held-out rows are a fixed function of ``count`` and ``validation``, the same in every run. Two data sets that
    differ only in ``split`` therefore share no sample. A larger validation part contains every smaller one.

    Args:
        count: the number of samples in the training set.
        split: "validation", or any other name for the training part.
        validation: the fraction that is held out, rounded to whole samples.

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
