"""The features of a discriminator: the input of its last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gantrain.config.user_code import name_of
from gantrain.errors import UserError


class Features:
    """Captures the features of a discriminator while it runs.

    The last layer is the network's attribute ``logit``, or without one the last linear or convolutional layer that is
    called.

    Args:
        network: the discriminator.
        run: runs it once, so that the last layer is found.

    Raises:
        UserError: no layer is called.
    """

    def __init__(self, network: nn.Module, run: Callable[[], None]):
        named = getattr(network, "logit", None)
        called: list[nn.Module] = [named] if isinstance(named, nn.Module) else []
        if not called:
            layers = [m for m in network.modules() if isinstance(m, nn.Linear | _ConvNd)]
            hooks = [m.register_forward_hook(lambda layer, _inputs, _output: called.append(layer)) for m in layers]
            try:
                run()
            finally:
                for hook in hooks:
                    hook.remove()
        if not called:
            raise UserError(
                f"game.discriminator.model: {name_of(network)}: a penalty takes its features, and no linear or "
                "convolutional layer is called; name the last layer by an attribute logit"
            )
        self.last = called[-1]

    @contextmanager
    def captured(self) -> Iterator[list[Tensor]]:
        """A list that gets the features ``(n, d)`` of each call of the network in the block."""
        found: list[Tensor] = []
        hook = self.last.register_forward_pre_hook(lambda _layer, inputs: found.append(inputs[0].flatten(1)))
        try:
            yield found
        finally:
            hook.remove()
