"""Spectral normalisation of a whole network, with one power iteration for all layers together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized, register_parametrization

_LAYERS = (nn.Linear, nn.Conv2d, nn.Embedding)
_LEAST_NORM = 1e-12  # a vector that is shorter is divided by this


class SpectralNorm(nn.Module):
    """A weight ``W``, as a matrix, divided by an estimate ``sigma = u^T W v`` of its largest singular value.

    In training mode a step of power iteration comes first: ``u = W v / |W v|``, then ``v = W^T u / |W^T u|``, so that
    ``sigma = |W^T u|``. To the gradient the vectors are constants. Also under autocast they are computed in the
    precision of the weight.

    The buffers are those of ``torch.nn.utils.parametrizations.spectral_norm``, and so are their initial values.

    Args:
        weight: ``(out, in, ...)``, at its initial value.

    Attributes:
        quotient: the divided weight while a forward pass of the network is under way that has computed it already.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        self.quotient: Tensor | None = None
        matrix = weight.detach().flatten(1)
        for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
            self.register_buffer(name, normalize(matrix.new_empty(size).normal_(), dim=0, eps=_LEAST_NORM))
        for _ in range(15):
            _power_iteration([self], [matrix])

    def forward(self, weight: Tensor) -> Tensor:
        return _quotients([self], [weight])[0] if self.quotient is None else self.quotient

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is divided after ``weight`` has been assigned to the layer: ``weight`` itself."""
        return weight


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weight of every dense, convolutional and embedding layer by its largest singular value, in place.

    In training mode each forward pass of the network begins with one step of power iteration for all layers, which
    updates the estimates of their singular values. A layer whose weight is read at another time takes a step of its
    own. The vectors of the iteration are buffers.

    Returns:
        The network.
    """
    together = _Together()
    for layer in [m for m in network.modules() if isinstance(m, _LAYERS)]:
        first = not is_parametrized(layer, "weight")
        register_parametrization(layer, "weight", SpectralNorm(layer.weight))
        if first:  # otherwise the layer alone knows what is to be divided
            together.weights.append(layer.parametrizations["weight"])
    network.register_forward_pre_hook(together.divide)
    network.register_forward_hook(together.forget, always_call=True)
    return network


class _Together:
    """Hooks that divide the weights of several layers when a forward pass of their network begins.

    Attributes:
        weights: the parametrized weights, whose first parametrization is :class:`SpectralNorm`.
    """

    def __init__(self) -> None:
        self.weights: list[ParametrizationList] = []

    def divide(self, *_: object) -> None:
        alike: dict[object, list[ParametrizationList]] = defaultdict(list)
        for weight in self.weights:
            alike[weight[0].training, weight.original.dtype, weight.original.device].append(weight)
        for weights in alike.values():
            norms: list[Any] = [weight[0] for weight in weights]
            for norm, quotient in zip(norms, _quotients(norms, [w.original for w in weights]), strict=True):
                norm.quotient = quotient

    def forget(self, *_: object) -> None:
        for weight in self.weights:
            weight[0].quotient = None  # type: ignore[assignment]


def _quotients(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> list[Tensor]:
    """The weights divided by the estimates; all must be in one mode, of one data type and on one device."""
    with _full_precision(weights[0].device.type):
        matrices = [weight.detach().flatten(1) for weight in weights]
        if norms[0].training:
            factors = _power_iteration(norms, matrices)
        else:
            # The backward pass needs the vectors as they are now.
            us, vs = ([vector.clone() for vector in vectors] for vectors in _vectors(norms))
            sigmas = [torch.dot(u, torch.mv(matrix, v)) for matrix, u, v in zip(matrices, us, vs, strict=True)]
            factors = us, vs, sigmas
        return [_Quotient.apply(*each)[0] for each in zip(weights, *factors, strict=True)]


@torch.no_grad()
def _power_iteration(
    norms: Sequence[SpectralNorm], matrices: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """A step of power iteration, in place; returns copies of the vectors, and the singular values ``|W^T u|``."""
    buffers = _vectors(norms)
    us, _ = _unit_products(matrices, buffers[1])
    vs, norms_of_products = _unit_products([matrix.t() for matrix in matrices], us)
    torch._foreach_copy_([*buffers[0], *buffers[1]], [*us, *vs])
    return us, vs, list(norms_of_products.unbind())


def _unit_products(matrices: Sequence[Tensor], vectors: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The products of matrices with vectors, divided by their norms, and the norms.

    The products are rows of one tensor, filled up with zeros, so that each operation after them is one for all.
    """
    sizes = [len(matrix) for matrix in matrices]
    rows = matrices[0].new_zeros(len(matrices), max(sizes))
    products = [row[:size] for row, size in zip(rows.unbind(), sizes, strict=True)]
    for matrix, vector, product in zip(matrices, vectors, products, strict=True):
        torch.mv(matrix, vector, out=product)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows.div_(norms.clamp_min(_LEAST_NORM))
    return products, norms.squeeze(1)


def _vectors(norms: Sequence[SpectralNorm]) -> tuple[list[Tensor], list[Tensor]]:
    return [norm._u for norm in norms], [norm._v for norm in norms]


class _Quotient(torch.autograd.Function):
    """``W / sigma`` and ``sigma`` itself, for ``sigma = u^T W v`` with constant ``u`` and ``v``.

    With ``Q = W / sigma`` the derivative of a function of ``Q`` in ``W`` is ``(G - <G, Q> u v^T) / sigma``, where ``G``
    is its derivative in ``Q``. Both outputs are returned since the second derivative differentiates them.
    """

    @staticmethod
    def forward(weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return weight / sigma, sigma.view_as(sigma)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        _, u, v, _ = inputs
        ctx.save_for_backward(u, v, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None, None]:
        u, v, quotient, sigma = ctx.saved_tensors
        of_quotient, of_sigma = gradients
        if of_quotient is None:
            of_quotient = torch.zeros_like(quotient)
        with _full_precision(quotient.device.type):
            factor = torch.dot(of_quotient.flatten(), quotient.flatten())
            if of_sigma is not None:
                factor = factor - of_sigma * sigma
            gradient = torch.addr(of_quotient.flatten(1), factor * u, v, alpha=-1) / sigma
        return gradient.view_as(quotient), None, None, None


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """Turns autocast off."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
