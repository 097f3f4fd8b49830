"""The parameters of a network's normalisation layers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gantrain.games.base import Player
from gantrain.models.layers.conditioning import ConditionalBatchNorm, LinearBatchNorm

_OWN = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
# Their scales and shifts belong to layers inside them.
_WHOLE = (ConditionalBatchNorm, LinearBatchNorm)


def norm_parameters(player: Player) -> set[Tensor]:
    """The trainable scales and shifts of the player's normalisation layers: batch, layer, group, instance and RMS norm.

    Those that depend on the class or on the latent count, too. Layers of other libraries are known by the name of their
    class, which ends in "Norm", as ``LlamaRMSNorm`` does.
    """
    return {p for layer in player.module.modules() for p in _of(layer) if p.requires_grad}


def _of(layer: nn.Module) -> Iterator[nn.Parameter]:
    if isinstance(layer, _WHOLE):
        yield from layer.parameters()
    elif isinstance(layer, _OWN) or type(layer).__name__.endswith("Norm"):
        yield from layer.parameters(recurse=False)
