"""The ascent step of sharpness-aware methods: parameters that are moved for an evaluation, and moved back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.games.base import Gradient, Player
from gantrain.sharpness.norm_layers import norm_parameters
from gantrain.utils.tensors import add_, norm, preserve, set_gradient

if TYPE_CHECKING:
    from gantrain.gradients.context import GradientContext


class Perturbation:
    """The ascent step of a sharpness-aware method.

    The geometry "l2" gives ``eps = rho g / ||g||``. The geometry "elementwise", which is ASAM's (Kwon et al., arXiv
    2102.11600), gives ``eps = rho p^2 g / || |p| g ||`` for the parameters ``p``. A gradient of zero gives no
    perturbation.

    Args:
        rho: the radius; as a 0-d tensor it may lie on a GPU.
        geometry: "l2" or "elementwise".
        only: the parameters that are perturbed, and over which the norm is taken: "norm" for those of normalisation
            layers, None for all.

    Raises:
        UserError: while the perturbation is applied, the norm of the gradient is not finite.
    """

    def __init__(self, rho: float | Tensor, geometry: str, only: Literal["norm"] | None = None):
        self.rho = rho
        self.geometry = geometry
        self.only = only

    def require(self, player: Player) -> None:
        """Refuse a player who has none of the parameters that are perturbed.

        Raises:
            UserError: the message names the player.
        """
        if self.only == "norm" and not norm_parameters(player):
            raise UserError(
                f"game.{player.name}.sharpness.only: norm perturbs the parameters of normalisation layers, and the "
                f"network of {player.name} trains none; leave only out, or use a network with such layers"
            )

    @contextmanager
    def applied(self, context: GradientContext, gradient: Gradient) -> Iterator[None]:
        """Perturb the parameters inside the context, and restore them at its end, also after an exception.

        Neither the gradient nor its direction is kept in memory inside the context.
        """
        set_gradient(context.parameters, [None] * len(context.parameters))  # they hold the gradient that is climbed
        chosen = norm_parameters(context.player) if self.only == "norm" else set(context.parameters)
        reached = [(p, g) for p, g in zip(context.parameters, gradient, strict=True) if g is not None and p in chosen]
        targets: list[Tensor] = [p for p, _ in reached]
        slopes = [g for _, g in reached]
        del gradient, reached
        directions = self._directions(context, targets, slopes)
        del slopes
        with preserve(targets):
            add_(targets, directions, self.rho)
            del directions
            yield

    @torch.no_grad()
    def _directions(self, context: GradientContext, targets: list[Tensor], slopes: list[Tensor]) -> Sequence[Tensor]:
        """The perturbation of ``targets`` divided by rho, in new memory."""
        if not targets:
            return []
        scaled = torch._foreach_mul(targets, slopes) if self.geometry == "elementwise" else None
        length = norm(slopes if scaled is None else scaled)
        context.require_finite("the norm of the gradient that sharpness climbs", length)
        # On a GPU the check comes later. Until then an infinite length must give NaN, not a step of length zero.
        length = torch.where(length == 0, 1.0, length).masked_fill(length.isinf(), torch.nan)
        # The gradient is divided first, because rho / length overflows if the gradient is tiny.
        if scaled is None:
            return torch._foreach_div(slopes, length)
        torch._foreach_mul_(scaled, targets)
        torch._foreach_div_(scaled, length)
        return scaled
