"""The last linear layer of a classifier, and the classifier cut in front of it: features, and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantrain.compute.modes import eval_mode
from gantrain.errors import UserError


@torch.no_grad()
def last_linear(network: nn.Module, samples: Tensor) -> nn.Linear | None:
    """The linear layer whose output is that of the network; None if the network does not end in such a layer.

    The network runs once, in evaluation mode. Modes, buffers and the random state are left as they were.

    Args:
        network: the network.
        samples: a few samples for the network, ``(n, *shape)``.
    """
    outputs: dict[nn.Linear, Tensor] = {}
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_hook(lambda layer, _, output: outputs.update({layer: output})) for m in linear]
    try:
        with eval_mode(network), torch.random.fork_rng(devices=[]):
            found = network(samples)
    finally:
        for hook in hooks:
            hook.remove()
    return next((layer for layer, output in outputs.items() if output is found), None)


class FeaturesAndHead(nn.Module):
    """A classifier cut into its features, which are the input of its last linear layer, and this layer.

    Args:
        classifier: the classifier. It keeps its layers but the last one, in whose place it gets an identity.
        last: the last linear layer of the classifier, as :func:`last_linear` finds it.
    """

    def __init__(self, classifier: nn.Module, last: nn.Linear):
        super().__init__()
        (path,) = (name for name, module in classifier.named_modules() if module is last)
        if not path:
            raise UserError("a classifier of a single linear layer has no features; choose a deeper network")
        classifier.set_submodule(path, nn.Identity())
        self.features = classifier
        self.head = last

    def forward(self, x: Tensor, with_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Samples ``(n, *shape)`` to logits ``(n, classes)``, if wanted together with the features ``(n, d)``."""
        features = self.features(x)
        logits: Tensor = self.head(features)
        return (logits, features) if with_features else logits
