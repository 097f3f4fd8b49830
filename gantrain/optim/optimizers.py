"""Optimizers and learning-rate schedulers: torch's own, by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gantrain.config.parts import build
from gantrain.errors import UserError


def make_optimizer(spec: Any, parameters: Sequence[Tensor], key: str = "optimizer") -> Optimizer:
    """The optimizer that ``spec`` describes, over ``parameters``.

    Where torch has a fused implementation and the spec does not choose between ``fused`` and ``foreach``, the fused one
    is taken: it is the fastest on CPU and on GPU.

    Raises:
        UserError: the optimizer does not accept these values; ``key`` says where they stand.
    """
    if isinstance(spec, Optimizer):
        raise UserError(f"{key}: expected a name or a mapping; an optimizer object has parameters of its own")
    try:
        optimizer = build("optimizer", spec, list(parameters))
        if _fusible(optimizer, parameters):
            for group in optimizer.param_groups:
                group["fused"] = True
            optimizer = _rebuilt(optimizer, parameters)
        return optimizer
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{key}: {error}") from error


def make_scheduler(spec: Any, optimizer: Optimizer, key: str = "scheduler") -> LRScheduler | None:
    """The scheduler that ``spec`` describes, or None for None; it is stepped once a training step.

    Raises:
        UserError: the scheduler does not accept these values; ``key`` says where they stand.
    """
    if isinstance(spec, LRScheduler):
        raise UserError(f"{key}: expected a name or a mapping; a scheduler object has an optimizer of its own")
    try:
        return build("scheduler", spec, optimizer)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def _fusible(optimizer: Optimizer, parameters: Sequence[Tensor]) -> bool:
    settings = optimizer.defaults
    chosen = any(settings.get(key) for key in ("foreach", "fused", "differentiable", "capturable"))
    return "fused" in settings and not chosen and all(torch.is_floating_point(p) for p in parameters)


def _rebuilt(optimizer: Optimizer, parameters: Sequence[Tensor]) -> Optimizer:
    """The same optimizer constructed anew from its own settings, so that its checks of ``fused`` run."""
    accepted = inspect.signature(type(optimizer)).parameters
    settings = {k: v for k, v in optimizer.param_groups[0].items() if k in accepted and k != "params"}
    return type(optimizer)(list(parameters), **settings)
