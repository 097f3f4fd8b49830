"""Batch norm over the samples of several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gantrain.compute.precision import upcast
from gantrain.distributed.processes import Processes


class AllReduceSum(torch.autograd.Function):
    """The sum of a tensor over the processes of a group, differentiable to any order.

    The gradient of the sum is again summed over the processes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = x.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return AllReduceSum.apply(gradient, ctx.group), None


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the samples of the current group of processes, on any device and differentiable twice.

    torch's own SyncBatchNorm works on GPUs only, and it has no second derivative, which gradient penalties need. Every
    process must hold the same number of samples. Inputs in half precision are normalised in single precision.

    Attributes:
        processes: the processes over whose samples the moments are taken.
    """

    processes: Processes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.processes.group_size == 1:
            return super().forward(x)
        dtype, x = x.dtype, upcast(x)
        shape = [-1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * self.processes.group_size

        def each(channels: Tensor) -> Tensor:
            return channels.view(shape).expand(len(x), *(-1 for _ in range(x.dim() - 1)))

        # Averaging each sample's positions first is many times faster on a CPU than averaging all axes at once.
        mean = x.reshape(*x.shape[:2], -1).mean(2).mean(0)
        variance = (x - each(mean)).square().reshape(*x.shape[:2], -1).mean(2).mean(0)
        means, variances = self._gathered(torch.stack([mean, variance])).unbind(1)
        average = means.mean(0)
        variance = (variances + (means - average).square()).mean(0)
        if self.track_running_stats:
            self._track(average.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = (variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - average * scale if self.affine else -average * scale
        return (x * each(scale) + each(shift)).to(dtype)

    def _gathered(self, moments: Tensor) -> Tensor:
        """The tensors of all processes in the group, ``(group_size, *shape)``; differentiable to any order."""
        rows = moments.new_zeros(self.processes.group_size, *moments.shape)
        rows[self.processes.rank] = moments
        return AllReduceSum.apply(rows, self.processes.group)

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
    """Replace every batch norm of a network by a :class:`SyncBatchNorm` that shares its parameters and buffers.

    Args:
        module: the network, which is changed in place.
        processes: the processes over which batch norm is taken; by default those that were launched.

    Returns:
        The network; where ``module`` is itself a batch norm, its replacement.
    """
    processes = processes or Processes.launched()
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        synced = SyncBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        synced._parameters.update(module._parameters)
        synced._buffers.update(module._buffers)
        synced.processes = processes
        return synced.train(module.training)
    for name, child in module.named_children():
        replaced = synchronise_batch_norm(child, processes)
        if replaced is not child:
            setattr(module, name, replaced)
    return module
