"""Optimistic Adam, which takes back a step along the direction before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.utils.tensors import copy_

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat


class OptimisticAdam(Optimizer):
    """Optimistic Adam: ``p <- p - 2 lr u_t + lr u_{t-1}`` with Adam's directions ``u_t`` and ``u_0 = 0``.

    ``u_t = (m_t / (1 - beta_1^t)) / (sqrt(v_t / (1 - beta_2^t)) + eps)`` for the averages ``m_t`` of the gradient and
    ``v_t`` of its square. Where ``u_t`` is the gradient, this is optimistic gradient descent, whose iterates are the
    extrapolated points of the outer loop ``optimistic``. It is meant for simultaneous steps, ``outer: {name: gda,
    order: simultaneous}``. A step costs one gradient, and the state is one tensor larger than Adam's. Source:
    Daskalakis et al., Training GANs with optimism, arXiv 1711.00141, algorithm 1.

    Args:
        params: tensors, or groups of them.
        lr: the step size.
        betas: the shares of the averages of the gradient and of its square that are kept at each step, at least 0 and
            below 1.
        eps: what is added to the root of the average of the square.
        weight_decay: the factor with which the parameter is added to its gradient, as in Adam.
        amsgrad: whether ``v_t`` is replaced by the largest of ``v_1, ..., v_t``.

    Raises:
        ValueError: one of the betas is negative, or not below 1.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: NonNegativeFloat = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: NonNegativeFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
        amsgrad: bool = False,
    ):
        for i, beta in enumerate(betas):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}; expected at least 0 and below 1")
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient; returns what ``closure`` does, if there is one."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                directions = self._directions(moved, group)
                before = [self.state[p]["direction"] for p in moved]
                torch._foreach_add_(moved, before, alpha=group["lr"])
                torch._foreach_add_(moved, directions, alpha=-2 * group["lr"])
                copy_(before, directions)
        return loss

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Take the gradients into the averages, and return Adam's directions."""
        states = [self._state_of(p, group["amsgrad"]) for p in parameters]
        first, second = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq"))
        gradients = [p.grad for p in parameters if p.grad is not None]
        if group["weight_decay"] != 0:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        if group["amsgrad"]:
            largest = [state["max_exp_avg_sq"] for state in states]
            torch._foreach_maximum_(largest, second)
            second = largest
        # A parameter without a gradient takes no step, so that each counts its own.
        steps = [int(state["step"].add_(1)) for state in states]
        scales = torch._foreach_sqrt(second)
        torch._foreach_div_(scales, [math.sqrt(1 - beta2**t) for t in steps])
        torch._foreach_add_(scales, group["eps"])
        directions = torch._foreach_div(first, scales)
        torch._foreach_div_(directions, [1 - beta1**t for t in steps])
        return list(directions)

    def _state_of(self, p: Tensor, amsgrad: bool) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            state["step"] = torch.zeros(())  # as torch's optimizers count, on the host
            averages = ("exp_avg", "exp_avg_sq", "direction", *(("max_exp_avg_sq",) if amsgrad else ()))
            state.update({key: torch.zeros_like(p, memory_format=torch.preserve_format) for key in averages})
        return state
