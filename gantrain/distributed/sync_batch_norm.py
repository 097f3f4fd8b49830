"""Batch norm over the samples of several processes."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from gantrain.compute.precision import upcast
from gantrain.distributed.processes import Processes


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the samples of the current group of processes, on any device and differentiable twice.

    torch's own SyncBatchNorm works on GPUs only, and it has no second derivative, which gradient penalties need. The
    processes may hold different numbers of samples, but each at least one. Inputs in half precision are normalised in
    single precision. The forward pass and both derivatives take one collective each.

    Attributes:
        processes: the processes over whose samples the moments are taken.
    """

    processes: Processes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.processes.group_size == 1:
            return super().forward(x)
        dtype, x, group = x.dtype, upcast(x), self.processes.group
        mean, variance, count = _moments(x, group)
        if self.track_running_stats and self.running_mean is not None:
            self._track(mean, variance * (count / (count - 1).clamp(min=1)))
        return _Normalised.apply(x, self.weight, self.bias, mean, variance, count, self.eps, group).to(dtype)

    @torch.no_grad()
    def _track(self, average: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(average, momentum)
        self.running_var.lerp_(variance, momentum)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {x.dim()}")


def synchronise_batch_norm(module: nn.Module, processes: Processes | None = None) -> nn.Module:
    """Let every batch norm of a network be a :class:`SyncBatchNorm`: the same object, of another class.

    Parameters, buffers, hooks and parametrisations stay. A user's own class that is derived from torch's keeps its
    methods, and is synchronised where it calls ``super().forward``.

    Args:
        module: the network, which is changed in place.
        processes: the processes over which batch norm is taken; by default those that were launched.

    Returns:
        The network.
    """
    processes = processes or Processes.launched()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            norm: Any = part
            norm.__class__ = _synchronised(norm.__class__)
            norm.processes = processes
    return module


@functools.cache
def _synchronised(kind: Any) -> Any:
    """The class of batch norms of some kind that are taken over several processes."""
    if issubclass(kind, SyncBatchNorm):
        return kind
    if kind.__module__.startswith("torch.nn.modules."):
        return SyncBatchNorm
    return type(kind.__name__, (kind, SyncBatchNorm), {"__module__": kind.__module__})


class _Normalised(torch.autograd.Function):
    """``weight * (x - mean) / sqrt(variance + eps) + bias``, where mean and variance depend on all processes' ``x``.

    In the formulas below ``y`` is the normalised ``x``, and a mean is over the samples of all processes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.group, ctx.biased = eps, group, bias is not None
        return batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        dx, dweight, dbias = _Gradient.apply(u, x, weight, mean, variance, count, ctx.eps, ctx.group)
        return dx, None if weight is None else dweight, dbias if ctx.biased else None, *[None] * 5


class _Gradient(torch.autograd.Function):
    """The gradient of :class:`_Normalised`, given that with respect to its output, ``u``.

    ``dx = weight / sqrt(variance + eps) * (u - mean(u) - y * mean(u * y))``; those of weight and bias are this process'
    own ``sum(u * y)`` and ``sum(u)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        x: Tensor,
        weight: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inverse = (variance + eps).rsqrt()
        sum_uy, sum_u = _sums(u, x, mean, inverse)
        mean_uy, mean_u = _means([sum_uy, sum_u], count, group)
        scale = inverse if weight is None else weight * inverse
        dx = batch_norm(x, mean, variance, -scale * mean_uy, -scale * mean_u, eps=eps)
        dx.addcmul_(u, _over_channels(scale, u))
        ctx.save_for_backward(u, x, weight, mean, variance, count, inverse, sum_uy, sum_u, mean_uy, mean_u)
        ctx.eps, ctx.group = eps, group
        return dx, sum_uy, sum_u

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, v_weight: Tensor, v_bias: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of ``sum(v * dx) + sum(v_weight * dweight) + sum(v_bias * dbias)``, over all processes."""
        u, x, weight, mean, variance, count, inverse, sum_uy, sum_u, mean_uy, mean_u = ctx.saved_tensors
        scale = inverse if weight is None else weight * inverse
        sum_vy, sum_v = _sums(v, x, mean, inverse)
        sum_uv = (u * v).reshape(*x.shape[:2], -1).sum(2).sum(0)
        own = [sum_vy, sum_v, sum_uv, v_weight * sum_uy, v_weight * sum_u]
        mean_vy, mean_v, mean_uv, mean_wuy, mean_wu = _means(own, count, ctx.group)

        du = batch_norm(x, mean, variance, v_weight - scale * mean_vy, v_bias - scale * mean_v, eps=ctx.eps)
        du.addcmul_(v, _over_channels(scale, v))

        # With respect to y the gradient is h = u * (v_weight - scale * mean_vy) - v * scale * mean_uy. It reaches x as
        # u does above; beside it, x acts through the factor 1 / sqrt(variance + eps) of dx.
        mean_h = mean_wu - scale * (mean_v * mean_uy + mean_u * mean_vy)
        mean_hy = mean_wuy - 2 * scale * mean_vy * mean_uy
        slope = mean_uv - mean_v * mean_u - mean_vy * mean_uy
        dx = batch_norm(x, mean, variance, -inverse * (mean_hy + scale * slope), -inverse * mean_h, eps=ctx.eps)
        dx.addcmul_(u, _over_channels(inverse * (v_weight - scale * mean_vy), u))
        dx.addcmul_(v, _over_channels(-inverse * scale * mean_uy, v))

        dweight = None if weight is None else inverse * (sum_uv - sum_v * mean_u - sum_vy * mean_uy)
        return du, dx, dweight, *[None] * 5


@torch.no_grad()
def _moments(x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel over the samples of all processes, and the number of these samples."""
    # Deviations from the first sample, since squares of x itself would cancel.
    first = x[0].reshape(x.shape[1], -1).mean(1)
    deviations = x - _over_channels(first, x)
    squares, sums = _sums(deviations, deviations, torch.zeros_like(first), torch.ones_like(first))
    # In double precision squares may cancel: what they lose, single precision does not have.
    first, squares, sums = first.double(), squares.double(), sums.double()
    own = x.numel() // x.shape[1]
    total = torch.cat([own * first + sums, squares + first * (own * first + 2 * sums), first.new_full((1,), own)])
    dist.all_reduce(total, group=group)  # by torch, in the group of a role
    mean, square = (total[:-1] / total[-1]).chunk(2)
    return mean.to(x.dtype), (square - mean.square()).clamp(min=0).to(x.dtype), total[-1].to(x.dtype)


def _sums(u: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """This process' sums of ``u * (x - mean) * inverse`` and of ``u`` over all axes but the channels."""
    # The reductions that batch norm's own backward pass makes, in one kernel.
    _, product, plain = torch.ops.aten.native_batch_norm_backward(
        u, x, None, None, None, mean, inverse, True, 0.0, [False, True, True]
    )
    return product, plain


def _means(sums: list[Tensor], count: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The means over the samples of all processes, given this process' sums; stacked, in one collective."""
    total = torch.stack(sums)
    dist.all_reduce(total, group=group)  # by torch, in the group of a role
    return total / count


def _over_channels(numbers: Tensor, x: Tensor) -> Tensor:
    """One number for each channel of ``x``, in a shape that can be broadcast to it."""
    return numbers.view(-1, *[1] * (x.dim() - 2))
