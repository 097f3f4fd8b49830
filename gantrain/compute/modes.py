"""Evaluating networks without a change to their mode, or to the random numbers of what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gantrain.utils.tensors import copy_, preserve, snapshot


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Put ``network`` into evaluation mode; at the end of the block every submodule gets its own mode back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators for networks that draw noise themselves, and restores their states afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


class Buffers:
    """The buffers of networks as tensors that others hold: those who restore, average or send them.

    A network may replace a buffer when it runs, as in ``self.mean = 0.9 * self.mean + 0.1 * x.mean(0)``.

    Args:
        networks: the networks.
    """

    def __init__(self, networks: Iterable[nn.Module]):
        modules = {module: None for network in networks for module in network.modules()}
        self._places = [(m._buffers, name, b) for m in modules for name, b in m._buffers.items() if b is not None]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """At the end of the block the buffers are in their places, with the values of those that replaced them."""
        try:
            yield
        finally:
            for buffers, name, own in self._places:
                new = buffers.get(name)
                if new is not own and isinstance(new, Tensor) and (new.shape, new.dtype) == (own.shape, own.dtype):
                    with torch.no_grad():
                        own.copy_(new)
                    buffers[name] = own

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the buffers are in their places, and those that have replaced them after it."""
        present = [buffers.get(name) for buffers, name, _ in self._places]
        for buffers, name, own in self._places:
            buffers[name] = own
        try:
            yield
        finally:
            for (buffers, name, _), replaced in zip(self._places, present, strict=True):
                buffers[name] = replaced


class Replay:
    """Runs a network once more as it runs after the constructor: from the same buffers, with the same random numbers.

    Args:
        network: the network.
        device: the device on which it runs.
    """

    def __init__(self, network: nn.Module, device: torch.device):
        self._buffers = list(network.buffers())
        self._tensors = Buffers([network])
        self._versions = [b._version for b in self._buffers]
        self._before = snapshot(self._buffers)
        self._devices = [device] if device.type == "cuda" else []
        self._random = torch.get_rng_state(), [torch.cuda.get_rng_state(d) for d in self._devices]

    def of(self, run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The function that runs the network once more. Buffers and generators are left as they were."""

        def again(x: Tensor) -> Tensor:
            # The backward pass may need the buffers that did not move, and torch would refuse them once they had been
            # written. It does not count the moves of batch norm, so that all are written, these without being counted.
            pairs = zip(self._buffers, self._versions, strict=True)
            buffers = [b if b._version != version else b.data for b, version in pairs]
            drawing = torch.random.fork_rng(devices=self._devices)
            with self._tensors.in_place(), preserve(buffers), drawing:
                copy_(buffers, self._before)
                torch.set_rng_state(self._random[0])
                for each, state in zip(self._devices, self._random[1], strict=True):
                    torch.cuda.set_rng_state(state, each)
                return run(x)

        return again
