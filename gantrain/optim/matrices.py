"""Which parameters of a network are matrices: the weights of its dense, convolutional and embedding layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from gantrain.models.layers.conditioning import ClassHead

# Their scales are called weight too, and have the dimensions of the features that are normalised.
_NORMS = (nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Matrix:
    """A weight of two or more dimensions.

    Args:
        parameter: ``(out, in, ...)``; ``(in, out, ...)`` where it is transposed.
        layer: the module that owns it.
    """

    parameter: Tensor
    layer: nn.Module

    @property
    def transposed(self) -> bool:
        """Whether the layer is a transposed convolution, whose input channels come first."""
        return isinstance(self.layer, _ConvTransposeNd)


def matrices(network: nn.Module) -> list[Matrix]:
    """All matrices of a network, in the order of its modules.

    A matrix is a parameter of two or more dimensions whose name ends in ``weight``. Where the weight is parametrized,
    as by spectral norm, the matrix is the original, which is what an optimizer moves. The scales and shifts of norms
    are none, also where there are some for each class.
    """
    found: dict[Tensor, Matrix] = {}
    for layer in network.modules():
        for name, parameter in _own(layer):
            if parameter.dim() >= 2 and name.endswith("weight") and not isinstance(layer, _NORMS):
                found.setdefault(parameter, Matrix(parameter, layer))
    return list(found.values())


def hidden(network: nn.Module) -> list[Matrix]:
    """The matrices of a network without its embeddings, heads of classes, first layer and last layer.

    Embeddings and heads of classes do not count as first or last, so that a network with classes is divided as the same
    one without.
    """
    dense = [matrix for matrix in matrices(network) if not isinstance(matrix.layer, nn.Embedding | ClassHead)]
    ends = [matrix.layer for matrix in (*dense[:1], *dense[-1:])]
    return [matrix for matrix in dense if matrix.layer not in ends]


def _own(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a module itself; those that are parametrized under the name of what they make."""
    yield from layer.named_parameters(recurse=False)
    parametrizations = getattr(layer, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict):
        for name, parametrization in parametrizations.items():
            # Weight norm has several originals, none of which is the weight.
            original = getattr(parametrization, "original", None)
            if isinstance(original, nn.Parameter):
                yield name, original
