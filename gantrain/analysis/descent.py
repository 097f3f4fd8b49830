"""The descent inequality of SAM and SAMPa with a fixed radius on convex functions. docs/theory.md has the proof.

``f`` is convex and its gradient has the Lipschitz constant L. The steps are SGD's without momentum, along gradients of
the whole of f, and SAMPa has ``mix: 0``. The step sizes ``eta_t`` may change in any way, and ``k_t = eta_t L``. Then

    V_{t+1} <= V_t - eta_t (1 - k_t / 2) ||grad f(x_t)||^2 + eta_t^2 rho^2 C_t

- SAM, ``k_t <= 1``: ``V_t = f(x_t)`` and ``C_t = L^3 / 2``.
- SAMPa, ``k_t < 1``, for every weight ``w > 0``: ``V_t = f(x_t) + w/2 ||grad f(x_t) - grad f(y_t)||^2`` and
  ``C_t = ((1 - k_t) / (1 + k_t) (L^2 / w + L^3) + w L^4 / (1 - k_t^2)) / 2``.

The SAMPa paper (arXiv 2410.10683) has a theorem of this kind. Its text was not at hand; the proof is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gantrain.config.types import shown
from gantrain.errors import UserError
from gantrain.games.function import scalar

Oracle = Literal["sam", "sampa"]


@dataclass(frozen=True)
class Descent:
    """The descent inequality along a path of T steps; it holds where ``potential[1:] <= allowed``, up to rounding.

    Attributes:
        potential: ``V_t``, from the start on, ``(T + 1,)``.
        allowed: what the theorem allows for ``V_{t+1}``, ``(T,)``.
        squared_gradients: ``||grad f(x_t)||^2``, ``(T + 1,)``.
    """

    potential: Tensor
    allowed: Tensor
    squared_gradients: Tensor


def descent(
    f: Callable[[Tensor], Tensor],
    path: Tensor,
    lr: float | Sequence[float],
    rho: float,
    lipschitz: float,
    oracle: Oracle = "sampa",
    weight: float | None = None,
) -> Descent:
    """Compare each step of a path with the descent inequality. One step costs two gradients.

    Args:
        f: a convex function of one iterate, which returns a scalar.
        path: the iterates from the start on, ``(T + 1, *shape)``, such as ``gt.solve(...)["x"]``, best in double
            precision.
        lr: the step size eta, or those of the T steps.
        rho: the radius.
        lipschitz: L, the Lipschitz constant of the gradient, or a number above it.
        oracle: "sam", or "sampa" for SAMPa with ``mix: 0``.
        weight: w in SAMPa's potential; 1 / L by default, which does not depend on units.

    Raises:
        UserError: a number is out of the theorem's range, the step sizes are not as many as the path's steps, or f does
            not return a scalar.
    """
    steps = _step_sizes(lr, len(path) - 1, rho, lipschitz, oracle).to(path.device)
    if weight is not None and (oracle == "sam" or not (0 < weight < math.inf)):
        raise UserError(f"weight: expected a number above 0, of sampa only, got {shown(weight)} for {oracle}")
    weight = 1 / lipschitz if weight is None else weight
    values, gradients = zip(*(_value_and_gradient(f, x) for x in path), strict=True)
    potential = torch.stack(values)
    squared = torch.stack([g.square().sum() for g in gradients])
    scale = steps.new_tensor(lipschitz)
    if oracle == "sam":
        constant = (scale**3 / 2).expand(len(steps))
    else:
        potential = potential + weight / 2 * _deviations(f, path, gradients, steps)
        fixed, inverse, linear = _constants(steps, scale)
        constant = fixed + inverse / weight + linear * weight
    allowed = potential[:-1] - steps * (1 - steps * lipschitz / 2) * squared[:-1] + steps**2 * rho**2 * constant
    return Descent(potential, allowed, squared)


def gradient_bound(
    gap: float, lr: float | Sequence[float], steps: int, rho: float, lipschitz: float, oracle: Oracle = "sampa"
) -> Tensor:
    """The bound on the smallest ``||grad f(x_t)||^2`` of a path's first T iterates, for T = 1, …, ``steps``.

    It is ``(gap + rho^2 sum_t eta_t^2 C_t) / sum_t eta_t (1 - k_t / 2)`` with sums over ``t < T``. For SAMPa it is the
    smallest bound over all weights w. With a step size of ``eta = c / (L sqrt(T))`` it falls as ``1 / sqrt(T)``.

    Args:
        gap: ``f(x_0) - min f``, or a number above it.
        lr: the step size eta, or those of all steps.
        steps: the number of steps.
        rho: the radius.
        lipschitz: L, the Lipschitz constant of the gradient, or a number above it.
        oracle: "sam", or "sampa" for SAMPa with ``mix: 0``.

    Returns:
        The bounds, ``(steps,)``, in double precision.

    Raises:
        UserError: a number is out of the theorem's range, or there is not one step size for each step.

    Examples:
        A hundred times as many steps of a tenth of the size.

        >>> for steps in (100, 10000):
        ...     bound = gradient_bound(0.5, 0.5 / steps**0.5, steps, rho=0.5, lipschitz=1.0)[-1]
        ...     print(f"{bound:.4f}")
        0.1206
        0.0119
    """
    if not (0 <= gap < math.inf):
        raise UserError(f"gap: expected f(x_0) - min f, a number of at least 0, got {shown(gap)}")
    eta = _step_sizes(lr, steps, rho, lipschitz, oracle)
    if oracle == "sam":
        error = (eta**2 * lipschitz**3 / 2).cumsum(0)
    else:
        fixed, inverse, linear = ((eta**2 * part).cumsum(0) for part in _constants(eta, eta.new_tensor(lipschitz)))
        error = fixed + 2 * (inverse * linear).sqrt()  # the minimum over w
    return (gap + rho**2 * error) / (eta * (1 - eta * lipschitz / 2)).cumsum(0)


def _constants(steps: Tensor, lipschitz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and c of SAMPa's ``C_t = a + b / w + c w``."""
    k = steps * lipschitz
    shrunk = (1 - k) / (1 + k) / 2
    return shrunk * lipschitz**3, shrunk * lipschitz**2, lipschitz**4 / (1 - k**2) / 2


def _deviations(f: Callable[[Tensor], Tensor], path: Tensor, gradients: Sequence[Tensor], steps: Tensor) -> Tensor:
    """``||grad f(x_t) - grad f(y_t)||^2``, where ``y_0 = x_0`` and ``y_{t+1} = x_t - eta_t grad f(y_t)``."""
    slope, deviations = gradients[0], [steps.new_zeros(())]
    for x, gradient, step in zip(path[:-1], gradients[1:], steps, strict=True):
        slope = _value_and_gradient(f, x - step * slope)[1]
        deviations.append((gradient - slope).square().sum())
    return torch.stack(deviations)


def _value_and_gradient(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = scalar(f(x)).reshape(())
        (gradient,) = torch.autograd.grad(value, x)
    return value.detach(), gradient


def _step_sizes(lr: float | Sequence[float], count: int, rho: float, lipschitz: float, oracle: str) -> Tensor:
    """The step sizes of all steps, ``(count,)``, in double precision, if the theorem holds for all numbers."""
    if oracle not in ("sam", "sampa"):
        raise UserError(f"oracle: expected sam or sampa, got {shown(oracle)}")
    if count < 1:
        raise UserError(f"steps: the inequality is about one step or more, got {max(count, 0)}")
    if not (0 <= rho < math.inf):
        raise UserError(f"rho: expected a number of at least 0, got {shown(rho)}")
    if not (0 < lipschitz < math.inf):
        raise UserError(f"lipschitz: expected a number above 0, got {shown(lipschitz)}")
    eta = torch.as_tensor(lr, dtype=torch.float64)
    eta = eta.expand(count) if eta.dim() == 0 else eta
    if eta.shape != (count,):
        raise UserError(f"lr: expected one number, or one for each of the {count} steps, got {tuple(eta.shape)}")
    k = eta * lipschitz
    within = (k > 0) & ((k <= 1) if oracle == "sam" else (k < 1))
    if not within.all():
        step = int(within.logical_not().nonzero()[0])
        limit = "at most 1" if oracle == "sam" else "below 1"
        raise UserError(
            f"lr: the theorem of {oracle} is about steps with lr L above 0 and {limit}, got lr = {eta[step]:g} with "
            f"L = {lipschitz:g} at step {step}"
        )
    return eta
