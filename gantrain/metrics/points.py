"""The features of real and fake samples as points of one space."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.metrics.sources.base import Source


def as_points(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Real and fake features as tensors on one device.

    Args:
        real: ``(n, d)``; a tensor, or what torch makes one of.
        fake: ``(m, d)``.

    Raises:
        UserError: there is no sample, a feature is no finite number, or the two have not equally many features.
    """
    found = {}
    for name, features in (("real", real), ("fake", fake)):
        try:
            points = torch.as_tensor(features).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{name}: expected features (samples, dimensions), got {type(features).__name__}"
            ) from error
        if points.ndim != 2 or 0 in points.shape or points.is_complex():
            raise UserError(
                f"{name}: expected real features (samples, dimensions), got the shape {tuple(points.shape)}"
            )
        if not points.isfinite().all():
            raise UserError(f"{name}: the features hold NaN or infinity")
        found[name] = points
    if found["real"].shape[1] != found["fake"].shape[1]:
        raise UserError(f"fake: has {found['fake'].shape[1]} features, and real has {found['real'].shape[1]}")
    return found["real"], found["fake"].to(found["real"].device)


def require_neighbours(source: Source, count: int, key: str, k: int) -> None:
    """Refuse so few images that not each of them has k others.

    Raises:
        UserError: the message names the source and the metric ``key``.
    """
    if count <= k:
        neighbours = "1 neighbour" if k == 1 else f"{k} neighbours"
        raise UserError(
            f"{source.name}: {key} looks for {neighbours} of each image, and there are {count} images; take more"
        )
