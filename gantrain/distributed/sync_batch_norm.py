"""Batch norm over the samples of several processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gantrain.compute.precision import full
from gantrain.distributed.processes import Processes


class Sum(torch.autograd.Function):
    """The sum over the processes of a group of what each passes; its derivative is itself, to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = x.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return Sum.apply(gradient, ctx.group), None


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the samples of the processes in force, on any device and differentiable twice.

    torch's own works on GPUs only, and gradient penalties need the second derivative. Each process must hold equally
    many samples. Half precision is computed in single, as torch does.
    """

    processes: Processes

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.processes.group_size == 1:
            return super().forward(x)
        dtype, x = x.dtype, full(x)
        shape = [-1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * self.processes.group_size

        def each(channels: Tensor) -> Tensor:
            return channels.view(shape).expand(len(x), *(-1 for _ in range(x.dim() - 1)))

        # First over the positions of each sample, which is many times faster on a CPU than over all axes at once.
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
        """``(world, *shape)``: the tensors of all processes, in one collective; differentiable as :class:`Sum`."""
        rows = moments.new_zeros(self.processes.group_size, *moments.shape)
        rows[self.processes.rank] = moments
        return Sum.apply(rows, self.processes.group)

    @torch.no_grad()
    def _track(self, average: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(average, momentum)
        self.running_var.lerp_(variance, momentum)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {x.dim()}")


def synchronise_batch_norm(module: nn.Module, processes: Processes | None = None) -> nn.Module:
    """``module`` with every batch norm replaced by a :class:`SyncBatchNorm` that shares its parameters and buffers.

    Args:
        module: a network.
        processes: over which batch norm is taken; those that were launched by default.
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
