"""Orthogonal regularisation of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from gantrain.games.penalties.base import Penalty, Score, Scored
from gantrain.utils.shards import whole

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat, PositiveInt


class Orthogonal(Penalty):
    """``weight sum_W ||W W^T * (1 - I)||_F^2``: the rows of each layer's weights become orthogonal, of any length.

    W is a weight as a matrix ``(outputs, rest)``, as it is stored: before spectral norm. Embeddings and vectors are
    left out. Source: Brock et al., Large scale GAN training for high fidelity natural image synthesis, ICLR 2019,
    eq. 3. (The gradient in its published code is that of half of this.)

    Args:
        weight: the weight of the penalty, the paper's beta.
        player: the player whose weights are meant, or both.
        every: the number of training steps from one application to the next.
    """

    twice = False

    def __init__(
        self,
        weight: PositiveFloat = 1e-4,
        player: Literal["discriminator", "generator", "both"] = "both",
        every: PositiveInt = 1,
    ):
        super().__init__(weight, every)
        self.player = player

    @property
    def players(self) -> frozenset[str]:
        return frozenset({"discriminator", "generator"} if self.player == "both" else {self.player})

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        assert real.network is not None
        return _overlaps(real.network, fake.logits)

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        assert fake.generator is not None
        return _overlaps(fake.generator, fake.logits)


def _overlaps(network: nn.Module, like: Tensor) -> Tensor:
    left_out = {id(p) for m in network.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    total = torch.zeros((), device=like.device)
    with torch.autocast(like.device.type, enabled=False):
        for p in network.parameters():
            if p.dim() > 1 and id(p) not in left_out:
                rows = whole(p).flatten(1)
                products = rows @ rows.T
                total = total + (products - products.diag().diag()).square().sum()
    return total
