"""Entropic mirror descent, whose steps stay on the simplex."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat

# A number that has become smaller would stay 0 for ever, whatever gradients follow.
_LEAST = torch.finfo(torch.float32).tiny
_TOLERANCE = 1e-4


class Mirror(Optimizer):
    """Mirror descent with the entropy as its mirror map: ``x_i <- x_i exp(-lr g_i) / sum_j x_j exp(-lr g_j)``.

    The step is also known as exponentiated gradient, multiplicative weights and Hedge. It moves mixed strategies, whose
    numbers are above 0 and sum to 1 in each row (the last dimension of a parameter), and keeps them such. Under the
    outer loop ``extragradient`` it is mirror-prox, under ``optimistic`` optimistic multiplicative weights. Sources:
    Nemirovski and Yudin 1983; Beck and Teboulle, Mirror descent and nonlinear projected subgradient methods, 2003, eq.
    5.6; Nemirovski 2004 for mirror-prox.

    Args:
        params: the parameters, each of which holds one mixed strategy or rows of them.
        lr: the step size. Default 0.1.

    Raises:
        ValueError: a parameter holds no mixed strategy.
    """

    def __init__(self, params: Iterable[Any], lr: PositiveFloat = 0.1):
        super().__init__(params, {"lr": lr})
        for p in (p for group in self.param_groups for p in group["params"]):
            if not bool((p >= 0).all()) or not bool(((p.sum(-1) - 1).abs() <= _TOLERANCE).all()):
                raise ValueError(
                    "mirror moves mixed strategies, numbers of at least 0 that sum to 1 in each row, and a parameter "
                    f"of shape {tuple(p.shape)} holds others; use another optimizer"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step along ``.grad``."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.copy_(_moved(p, p.grad, group["lr"]))
        return loss


def _moved(p: Tensor, gradient: Tensor, lr: float) -> Tensor:
    # A softmax of logarithms neither overflows nor loses small numbers.
    return (p.clamp(min=_LEAST).log() - lr * gradient).softmax(-1).clamp_(min=_LEAST)
