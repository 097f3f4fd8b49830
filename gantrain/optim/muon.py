"""Muon: momentum whose matrices are orthogonalised, for whole networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from gantrain.utils.shards import shard_like, whole

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt


class Muon(Optimizer):
    """Muon for the matrices of a network, and another optimizer for everything else.

    With the gradient ``G`` of a matrix ``W``, ``B <- m B + (1 - m) G``; ``U = (1 - m) G + m B``, or ``B`` without
    Nesterov's step; ``W <- (1 - lr weight_decay) W - lr c NS(U)``, where NS replaces the singular values of a matrix by
    numbers near 1, and ``c`` depends on the shape. Source: Jordan et al., Muon: an optimizer for hidden layers in
    neural networks, 2024.

    In a config, the matrices are the weights of all dense and convolutional layers but the first and the last one;
    ``rest`` moves those two layers, embeddings, biases and norms. A weight of more than two dimensions is taken as a
    matrix ``(out, -1)``. Both optimizers act as one: a scheduler scales both learning rates, and one state dict holds
    both states. The groups of the matrices come first, so that their learning rate is the step size of a constraint.

    ``torch.optim.Muon`` does the same on 2-D tensors and takes no others. It could be given 2-D views of all weights,
    but its state would then belong to the views, and a filter whose channels lie last in memory has no such view.

    Args:
        params: tensors, or groups of them. In a group with ``transposed: True`` the tensors are ``(in, out, ...)``. The
            rest gets the groups with ``rest: True`` and all tensors of fewer than two dimensions.
        lr: the step size of the matrices.
        weight_decay: the decoupled weight decay of the matrices.
        momentum: m, the share of the average that is kept at each step.
        nesterov: whether U looks one step ahead of the average B.
        ns_coefficients: (a, b, c) of an iteration ``X <- a X + (b X X' + c (X X')^2) X``; the default is Jordan's.
        eps: the least norm by which a matrix is divided before the iterations.
        ns_steps: the number of iterations.
        adjust_lr_fn: the factor c for a matrix of A rows and B columns: "original" (the default) is
            ``max(1, A / B)^(1/2)``; "match_rms_adamw" is ``0.2 max(A, B)^(1/2)``, for the learning rates of AdamW (Liu
            et al., arXiv 2502.16982); "spectral_unclamped" is ``(A / B)^(1/2)`` (Bernstein, Deriving Muon, 2025).
        rest: the optimizer of everything else, with its own keys; adamw by default. An optimizer object may be given
            all parameters, for the matrices are taken out of its groups.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: NonNegativeFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.1,
        momentum: Fraction = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: PositiveFloat = 1e-7,
        ns_steps: PositiveInt = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw", "spectral_unclamped"] | None = None,
        rest: Optimizer | None = None,
    ):
        matrices, others = _divided(params)
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": tuple(ns_coefficients),
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "transposed": False,
        }
        super().__init__(matrices or [{"params": []}], defaults)
        self.rest = AdamW([{"params": others}], fused=True) if rest is None else rest
        self._take_over()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient; returns what ``closure`` does, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if _of_matrices(group):
                for p in group["params"]:
                    if p.grad is not None:
                        self._move(p, p.grad, group)
        self.rest.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rest": self.rest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _move(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        update = whole(update)  # of a sharded matrix each process orthogonalises all
        update = update.transpose(0, 1) if group["transposed"] else update
        matrix = orthogonalised(update.flatten(1), group["ns_coefficients"], group["ns_steps"], group["eps"])
        factor = _factor(group["adjust_lr_fn"], *matrix.shape)
        matrix = matrix.view(update.shape)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        matrix = matrix.transpose(0, 1) if group["transposed"] else matrix
        p.add_(shard_like(matrix, p), alpha=-group["lr"] * factor)

    def _take_over(self) -> None:
        """Make the groups and the state of the rest this optimizer's, without what this optimizer moves itself."""
        own = {p for group in self.param_groups for p in group["params"]}
        for group in self.rest.param_groups:
            group["params"] = [p for p in group["params"] if p not in own]
        self.state.update({p: state for p, state in self.rest.state.items() if p not in own})
        self.param_groups = [g for g in (*self.param_groups, *self.rest.param_groups) if g["params"]]
        self._share()

    def _share(self) -> None:
        """Let the rest step on this optimizer's groups and state, which loading replaces."""
        groups = [group for group in self.param_groups if not _of_matrices(group)]
        self.rest.__setstate__({"state": self.state, "param_groups": groups})


def orthogonalised(
    matrix: Tensor,
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
) -> Tensor:
    """The matrix with all singular values near 1, by Newton-Schulz iterations in bfloat16.

    ``X <- a X + (b X X' + c (X X')^2) X``, beginning with the matrix divided by its Frobenius norm, maps each singular
    value ``s`` to ``a s + b s^3 + c s^5``. The default coefficients have the largest slope at 0 for which five
    iterations end within about [0.7, 1.2]; they do not converge to 1. Source: Jordan et al., 2024,
    https://kellerjordan.github.io/posts/muon.

    Args:
        matrix: ``(n, m)``.
        coefficients: (a, b, c).
        steps: the number of iterations.
        eps: the least norm by which the matrix is divided.

    Returns:
        ``(n, m)`` in bfloat16, contiguous.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    # The memory's layout must not depend on what came before, for products round differently in another one.
    x = matrix.to(torch.bfloat16).contiguous()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).contiguous()


def _divided(params: Iterable[Tensor] | Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Groups of matrices, none of which is empty, and all other tensors."""
    matrices: list[dict[str, Any]] = []
    others: list[Tensor] = []
    given: list[Any] = list(params)
    groups: list[dict[str, Any]] = given if given and isinstance(given[0], dict) else [{"params": given}]
    for group in groups:
        options = {key: value for key, value in group.items() if key not in ("params", "rest")}
        own = [p for p in group["params"] if p.dim() >= 2 and not group.get("rest", False)]
        others += [p for p in group["params"] if p.dim() < 2 or group.get("rest", False)]
        if own:
            matrices.append({"params": own, **options})
    return matrices, others


def _of_matrices(group: dict[str, Any]) -> bool:
    """Whether a group is moved by Muon and not by the rest: no other optimizer knows this option."""
    return "transposed" in group


def _factor(rule: str | None, rows: int, columns: int) -> float:
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    if rule == "spectral_unclamped":
        return math.sqrt(rows / columns)
    return math.sqrt(max(1, rows / columns))
