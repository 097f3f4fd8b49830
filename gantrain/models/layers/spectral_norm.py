"""Spectral normalisation of a whole network, with one power iteration for all layers together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized, register_parametrization

from gantrain.compute.precision import full_precision

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
        if torch.compiler.is_compiling():
            return self._traced(weight)
        return _quotients([self], [weight])[0] if self.quotient is None else self.quotient

    def _traced(self, weight: Tensor) -> Tensor:
        """The quotient by operations of which the compiler makes one graph with the rest of the network."""
        with full_precision(weight.device):
            matrix, u, v = weight.flatten(1), self._u.clone(), self._v.clone()
            if self.training:
                with torch.no_grad():
                    u = normalize(torch.mv(matrix, v), dim=0, eps=_LEAST_NORM)
                    v = normalize(torch.mv(matrix.t(), u), dim=0, eps=_LEAST_NORM)
                    self._u.copy_(u)
                    self._v.copy_(v)
            return weight / torch.dot(u, torch.mv(matrix, v))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is divided after ``weight`` has been assigned to the layer: ``weight`` itself."""
        return weight


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weight of every dense, convolutional and embedding layer by its largest singular value, in place.

    In training mode each forward pass of the network begins with one step of power iteration for all layers, which
    updates the estimates of their singular values. A layer whose weight is read at another time takes a step of its
    own. The vectors of the iteration are buffers. A network whose ``forward`` calls ``torch.utils.checkpoint`` takes
    torch's own ``spectral_norm``, since what is computed again in the backward pass reads the weights outside of it.

    Returns:
        The network.
    """
    together = _Together()
    for layer in [m for m in network.modules() if isinstance(m, _LAYERS)]:
        first = not is_parametrized(layer, "weight")
        norm = SpectralNorm(layer.weight)
        register_parametrization(layer, "weight", norm)
        if first:  # otherwise the layer alone knows what is to be divided
            parametrizations: Any = layer.parametrizations  # to torch's stubs it may be a tensor
            together.layers.append((norm, parametrizations["weight"]))
    network.register_forward_pre_hook(together.divide)
    network.register_forward_hook(together.forget, always_call=True)
    return network


def divide_one_by_one(network: nn.Module) -> None:
    """Let each spectrally normalised layer take its step when its weight is read, which gives the same up to rounding.

    The weights of a network that is divided among processes are in this process only while their layers compute.
    """
    for module in network.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number in [n for n, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), _Together)]:
                del hooks[number]
                module._forward_hooks_always_called.pop(number, None)


class _Together:
    """Hooks that divide the weights of several layers when a forward pass of their network begins.

    Attributes:
        layers: the norm of each layer, and the list that holds the weight and has the norm as its first entry.
    """

    def __init__(self) -> None:
        self.layers: list[tuple[SpectralNorm, ParametrizationList]] = []

    def divide(self, *_: object) -> None:
        if torch.compiler.is_compiling():
            return  # the compiler takes together what it can
        alike: dict[object, tuple[list[SpectralNorm], list[Tensor]]] = {}
        for norm, holder in self.layers:
            weight = holder.original
            norms, weights = alike.setdefault((norm.training, weight.dtype, weight.device), ([], []))
            norms.append(norm)
            weights.append(weight)
        for norms, weights in alike.values():
            for norm, quotient in zip(norms, _quotients(norms, weights), strict=True):
                norm.quotient = quotient

    def forget(self, *_: object) -> None:
        if torch.compiler.is_compiling():
            return
        for norm, _holder in self.layers:
            norm.quotient = None


def _quotients(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> list[Tensor]:
    """The weights divided by the estimates; all must be in one mode, of one data type and on one device."""
    with full_precision(weights[0].device):
        matrices = [weight.detach().flatten(1) for weight in weights]
        if norms[0].training:
            us, vs, sigmas = _power_iteration(norms, matrices)
        else:
            # The backward pass needs the vectors as they are now.
            us, vs = ([vector.clone() for vector in vectors] for vectors in _vectors(norms))
            products = [torch.dot(u, torch.mv(matrix, v)) for matrix, u, v in zip(matrices, us, vs, strict=True)]
            sigmas = torch.stack(products)
        *quotients, _ = _Quotients.apply(sigmas, *us, *vs, *weights)
        return quotients


@torch.no_grad()
def _power_iteration(
    norms: Sequence[SpectralNorm], matrices: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """A step of power iteration, in place; returns copies of the vectors, and the singular values ``|W^T u|``."""
    buffers = _vectors(norms)
    us, _ = _unit_products(matrices, buffers[1])
    vs, sigmas = _unit_products([matrix.t() for matrix in matrices], us)
    torch._foreach_copy_([*buffers[0], *buffers[1]], [*us, *vs])
    return us, vs, sigmas


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


class _Quotients(torch.autograd.Function):
    """``W / sigma`` of each ``W``, then all ``sigma``, for ``sigma = u^T W v`` with constant ``u`` and ``v``.

    With ``Q = W / sigma`` the derivative of a function of ``Q`` in ``W`` is ``(G - <G, Q> u v^T) / sigma``, where ``G``
    is its derivative in ``Q``. The sigmas are returned since the second derivative differentiates them, too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(sigmas: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights = tensors[2 * len(sigmas) :]
        return *(weight / sigma for weight, sigma in zip(weights, sigmas.unbind(), strict=True)), sigmas.view_as(sigmas)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        sigmas, *tensors = inputs
        ctx.save_for_backward(*tensors[: 2 * len(sigmas)], *output)
        ctx.save_for_forward(*tensors[: 2 * len(sigmas)], *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *saved, sigmas = ctx.saved_tensors
        *upstream, of_sigmas = gradients
        number = len(sigmas)
        us, vs, quotients = saved[:number], saved[number : 2 * number], saved[2 * number :]
        of_logarithms = [None] * number if of_sigmas is None else (of_sigmas * sigmas).unbind()
        found: list[Tensor | None] = []
        with full_precision(sigmas.device):
            for g, h, u, v, quotient, sigma in zip(
                upstream, of_logarithms, us, vs, quotients, sigmas.unbind(), strict=True
            ):
                if g is None and h is None:
                    found.append(None)
                    continue
                g = torch.zeros_like(quotient) if g is None else g
                factor = torch.dot(g.flatten(), quotient.flatten())
                factor = factor if h is None else factor - h
                found.append((torch.addr(g.flatten(1), factor * u, v, alpha=-1) / sigma).view_as(quotient))
        return *[None] * (1 + 2 * number), *found

    @staticmethod
    def jvp(ctx: Any, _: object, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        *saved, sigmas = ctx.saved_tensors
        number = len(sigmas)
        found: list[Tensor | None] = []
        of_sigmas: list[Tensor] = []
        for t, u, v, quotient, sigma in zip(
            tangents[2 * number :],
            saved[:number],
            saved[number : 2 * number],
            saved[2 * number :],
            sigmas.unbind(),
            strict=True,
        ):
            of_sigma = torch.zeros_like(sigma) if t is None else torch.dot(u, torch.mv(t.flatten(1), v))
            found.append(None if t is None else (t - of_sigma * quotient) / sigma)
            of_sigmas.append(of_sigma)
        return *found, torch.stack(of_sigmas)
