"""How a game's vector field turns, stretches and bends about a point, from products with its Jacobian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.analysis.linearised import Linearised
from gantrain.analysis.spectrum import largest_singular_value
from gantrain.games.base import Game
from gantrain.utils.seeding import generator
from gantrain.utils.tensors import add_, copy_, norm, preserve, snapshot

# Directions in which the field changes less than this share of L are taken for flat: quotients by their change are
# noise.
FLAT = 1e-3


def rotation_share(game: Linearised, probes: int = 8, seed: int = 0) -> float:
    """``||A||_F / ||J||_F``, ``A = (J - J^T) / 2`` the antisymmetric part: 0 of a minimisation, 1 of a bilinear game.

    With the symmetric part ``S``, ``||J||_F^2 = ||S||_F^2 + ||A||_F^2``; both are estimated without bias by
    ``||S v||^2`` and ``||A v||^2`` for probes ``v`` with entries ±1 (Hutchinson, 1989). ``nan`` if J is zero.

    Args:
        game: linearised.
        probes: how many; each costs two products.
        seed: of the probes.
    """
    turning = stretching = 0.0
    for index in range(probes):
        v = _signs(game.value, seed, index)
        forward, backward = game.product(v).double(), game.transposed(v).double()
        turning += float((forward - backward).square().sum())
        stretching += float((forward + backward).square().sum())
    total = turning + stretching
    return math.sqrt(turning / total) if total else math.nan


def lipschitz(game: Linearised) -> float:
    """``||J||_2``: the Lipschitz constant L of ``F`` in the limit of a small neighbourhood."""
    return largest_singular_value(game.product, game.transposed, game.value)


def cohypomonotonicity(game: Linearised, dimension: int = 10) -> float:
    """``min_v <v, J v> / ||J v||^2``: the rho of cohypomonotonicity, in the directions that a method can go.

    ``<F z - F z', z - z'> >= rho ||F z - F z'||^2``, linearised, over the ``v`` in the Krylov space spanned by
    ``F, J F, …, J^{d-1} F``: about z, every method that combines d gradients moves in it. Over all of the parameters'
    space the minimum says nothing of a network, which has directions of nearly no curvature and either sign. Flat
    directions of the space (``||J v|| < 0.001 max_u ||J u||`` for unit vectors) are left out. An upper bound of the rho
    over all directions that are not flat, and exact where the space is the whole.

    Args:
        game: linearised.
        dimension: d; each costs one product.

    Returns:
        rho, in units of a step size; ``nan`` if the field does not change.
    """
    start = game.value if game.value.any() else _signs(game.value, 0, 0)
    basis: list[Tensor] = [start / start.norm()]
    images: list[Tensor] = []
    while True:
        images.append(game.product(basis[-1]))
        rest = images[-1]
        for _ in range(2):  # once is not enough in single precision
            for q in basis:
                rest = rest - torch.dot(q, rest) * q
        if len(basis) == min(dimension, game.size) or float(rest.norm()) <= 1e-5 * float(images[-1].norm()):
            break
        basis.append(rest / rest.norm())
    q, image = torch.stack(basis), torch.stack(images)
    projected, squared = (q @ image.T).double().cpu(), (image @ image.T).double().cpu()
    sizes, directions = torch.linalg.eigh(squared)
    curved = sizes > FLAT**2 * sizes.max()
    if not curved.any():
        return math.nan
    whitened = directions[:, curved] / sizes[curved].sqrt()
    return float(torch.linalg.eigvalsh(whitened.T @ (projected + projected.T) / 2 @ whitened).min())


def sharpness(game: Game, player: str, batch: object, radius: float = 0.05, steps: int = 20) -> float:
    """``max_{||e|| <= radius} f(w + e) - f(w)`` for the player's objective f and parameters w, the others held.

    By projected gradient ascent, ``e <- P(e + radius g / ||g||)`` with ``g`` the gradient at ``w + e``: the first step
    is SAM's (Foret et al., arXiv 2010.01412). The largest value met is returned, a lower bound of the maximum. Where
    the gradient vanishes, it begins in a random direction.

    Args:
        game: inside :func:`~gantrain.analysis.linearised.undisturbed`; left as it is.
        player: whose.
        batch: on which the objective is computed.
        radius: in units of the parameters' norm.
        steps: gradients taken.
    """
    parameters = game.players[player].parameters

    def evaluate() -> tuple[float, list[Tensor]]:
        loss = game.objective(player, batch).loss
        return loss.item(), list(torch.autograd.grad(loss, parameters, materialize_grads=True))

    with preserve(parameters):
        center = snapshot(parameters)
        start, gradient = evaluate()
        best = start
        if not float(norm(gradient)):
            source = generator(0, "ascent")
            gradient = [torch.randn(p.shape, generator=source, dtype=p.dtype).to(p.device) for p in parameters]
        for _ in range(steps):
            length = float(norm(gradient))
            if not 0 < length < math.inf:
                break
            add_(parameters, gradient, radius / length)
            _project(parameters, center, radius)
            value, gradient = evaluate()
            best = max(best, value)
    return best - start


def path_angles(game: Game, batch: object, there: dict[str, list[Tensor]], at: Sequence[float]) -> list[float]:
    """Cosines between the way the game pushes, ``-F``, and the straight path from here to a later point, along it.

    At ``z + t (z' - z)`` for each t. Where a path leads to an attracting point, the cosine is positive before and
    negative beyond it; where the field turns about the path, there is a bump at its end (Berard et al., A closer look
    at the optimization landscapes of GANs, ICLR 2020, section 4.2).

    Args:
        game: inside :func:`~gantrain.analysis.linearised.undisturbed`; left as it is.
        batch: on which F is computed.
        there: z' by player: parameters and then running statistics, as in :class:`~gantrain.games.base.Player`.
        at: the t's.
    """
    players = game.players.values()
    tensors = [t for player in players for t in (*player.parameters, *player.statistics)]
    ends = [t for player in players for t in there[player.name]]
    cosines = []
    with preserve(tensors), torch.no_grad():
        here = snapshot(tensors)
        way = [end - start for end, start in zip(ends, here, strict=True)]
        direction = [w for w, t in zip(way, tensors, strict=True) if t.requires_grad]
        for t in at:
            copy_(tensors, here)
            add_(tensors, way, t)
            push = [-g for player in players for g in _gradient(game, player.name, batch)]
            inner = sum(float((a * b).sum()) for a, b in zip(push, direction, strict=True))
            scale = float(norm(push)) * float(norm(direction))
            cosines.append(inner / scale if scale else math.nan)
    return cosines


@torch.enable_grad()
def _gradient(game: Game, player: str, batch: object) -> list[Tensor]:
    loss = game.objective(player, batch).loss
    return list(torch.autograd.grad(loss, game.players[player].parameters, materialize_grads=True))


def _project(parameters: list[Tensor], center: list[Tensor], radius: float) -> None:
    with torch.no_grad():
        offset = torch._foreach_sub(parameters, center)
        length = float(norm(offset))
    if length > radius:
        copy_(parameters, center)
        add_(parameters, offset, radius / length)


def _signs(like: Tensor, seed: int, index: int) -> Tensor:
    bits = torch.randint(2, like.shape, generator=generator(seed, "probes", index))
    return (2 * bits - 1).to(like)
