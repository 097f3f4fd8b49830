"""Many processes: one collective for each evaluation of the operator, on unwrapped modules."""

from __future__ import annotations

import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psutil
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from gantrain.errors import UserError
from gantrain.launch import distributed
from gantrain.precision import full
from gantrain.processes import Processes, signed

# In the store that the processes share: what the first one to fail says.
_LAST_WORDS = "error"
_groups = itertools.count()


@contextmanager
def joined(cpu: bool) -> Iterator[Accelerator]:
    """The processes that a launcher started, or this one alone, together for as long as the block lasts.

    Args:
        cpu: whether GPUs are left alone.

    Raises:
        UserError: another process has ended, which shows in the next collective; what it said, if it said anything.
    """
    store = _connect(cpu) if distributed() else None
    accelerator = Accelerator(cpu=cpu, mixed_precision="no")  # autocast is ours, whatever the launcher says
    many = accelerator.num_processes > 1
    try:
        yield accelerator
    except Exception as error:
        # Of gloo's errors there is no class.
        if many and isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise UserError(_last_words(store) or _ended(error, accelerator.process_index)) from error
        if many and store is not None:
            with suppress(RuntimeError):
                store.compare_set(_LAST_WORDS, "", signed(error, accelerator.process_index))
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        # Accelerate's state outlives its Accelerator, and the next run may want another device.
        AcceleratorState._reset_state(reset_partial_state=True)


def _connect(cpu: bool) -> dist.Store:
    """Join the processes that were launched, and return what they share.

    Tensors on CPUs are exchanged over gloo where those on GPUs go over NCCL, too: gloo notices at once when a process
    has ended.
    """
    interface = _interface(os.environ.get("MASTER_ADDR", ""))
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    store, rank, world = _rendezvous()
    # What an earlier group has left in the store is not for this one.
    store = dist.PrefixStore(f"gantrain/{next(_groups)}", store)
    dist.init_process_group("gloo" if cpu else "cpu:gloo,cuda:nccl", store=store, rank=rank, world_size=world)
    return store


@cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """What the processes share, this one's number, and how many they are. It lasts as long as the process."""
    return next(dist.rendezvous("env://"))


def _interface(first: str) -> str | None:
    """The network interface over which this host reaches the first one, or None.

    Gloo would take the one that the name of this host stands for, which may be loopback, or none at all.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(first, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return None
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if own in {a.address for a in addresses}), None)


def _last_words(store: dist.Store | None) -> str | None:
    try:
        if store is not None and store.check([_LAST_WORDS]):
            return store.get(_LAST_WORDS).decode()
    except RuntimeError:
        pass  # The store has ended with the first process.
    return None


def _ended(error: RuntimeError, rank: int) -> str:
    reason = re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).partition("\n")[0]).partition(". ")[0]
    return f"process {rank} on {socket.gethostname()}: another process has ended ({reason}); go on with --resume"


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
        if not self.training or self.processes.world == 1:
            return super().forward(x)
        dtype, x = x.dtype, full(x)
        shape = [-1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * self.processes.world

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
        rows = moments.new_zeros(self.processes.world, *moments.shape)
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
