"""Measures of how a game's vector field turns, stretches and bends about a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gantrain.analysis.linearised import Linearised
from gantrain.analysis.spectrum import largest_singular_value
from gantrain.games.base import Game
from gantrain.utils.seeding import generator
from gantrain.utils.tensors import add_, copy_, norm, preserve, snapshot

# A direction counts as flat if the field changes in it by less than this share of L: a quotient by so small a change is
# noise.
FLAT = 1e-3


def rotation_share(game: Linearised, probes: int = 8, seed: int = 0) -> float:
    """``||A||_F / ||J||_F``, ``A = (J - J^T) / 2`` the antisymmetric part: 0 of a minimisation, 1 of a bilinear game.

    With the symmetric part ``S``, ``||J||_F^2 = ||S||_F^2 + ||A||_F^2``; both are estimated without bias by
    ``||S v||^2`` and ``||A v||^2`` for probes ``v`` with entries ±1 (Hutchinson, 1989). ``nan`` if J is zero.

    Args:
        game: the linearised game.
        probes: the number of probes, each of which costs two products.
        seed: the seed of the probes.
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
    """``min_v <v, J v> / ||J v||^2``: the rho of cohypomonotonicity, over directions in which a method can move.

    ``<F z - F z', z - z'> >= rho ||F z - F z'||^2``, linearised, over the ``v`` in the Krylov space spanned by
    ``F, J F, …, J^{d-1} F``: about z, every method that combines d gradients moves in this space. The minimum over the
    whole space of parameters would say nothing about a network, which has directions of nearly no curvature of either
    sign. Flat directions of the Krylov space (``||J v|| < 0.001 max_u ||J u||`` for unit vectors) are left out. The
    result is an upper bound of the rho over all directions that are not flat, and exact if the Krylov space is the
    whole space.

    Args:
        game: the linearised game.
        dimension: d, the dimension of the Krylov space; each costs one product.

    Returns:
        rho in units of a step size; ``nan`` if the field does not change.
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

    The maximum is approached by projected gradient ascent, ``e <- P(e + radius g / ||g||)`` with ``g`` the gradient at
    ``w + e``: the first step is SAM's (Foret et al., arXiv 2010.01412). The largest value met is returned, which is a
    lower bound of the maximum. If the gradient vanishes at w, the ascent begins in a random direction.

    Args:
        game: the game, inside :func:`~gantrain.analysis.linearised.undisturbed`; it is left as it is.
        player: the name of the player.
        batch: the batch on which the objective is computed.
        radius: the radius in units of the parameters' norm.
        steps: the number of gradients taken.
    """
    parameters: list[Tensor] = [*game.players[player].parameters]

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


def path_angles(game: Game, batch: object, later: Mapping[str, Sequence[Tensor]], at: Sequence[float]) -> list[float]:
    """Cosines of the angles between ``-F`` and the straight path from the current point z to a later point z'.

    The angle is measured at ``z + t (z' - z)`` for each t. If the path leads to an attracting point, the cosine is
    positive before that point and negative beyond it; if the field turns about the path, the cosine has a bump at the
    end (Berard et al., A closer look at the optimization landscapes of GANs, ICLR 2020, section 4.2).

    Args:
        game: the game, inside :func:`~gantrain.analysis.linearised.undisturbed`; it is left as it is.
        batch: the batch on which F is computed.
        later: z' by player: parameters and then running statistics, as in :class:`~gantrain.games.base.Player`.
        at: the values of t.
    """
    players = game.players.values()
    tensors = [t for player in players for t in (*player.parameters, *player.statistics)]
    ends = [t for player in players for t in later[player.name]]
    cosines = []
    with preserve(tensors), torch.no_grad():
        starts = snapshot(tensors)
        path = [end - start for end, start in zip(ends, starts, strict=True)]
        direction = [w for w, t in zip(path, tensors, strict=True) if t.requires_grad]
        for t in at:
            copy_(tensors, starts)
            add_(tensors, path, t)
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
