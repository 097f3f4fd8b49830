"""Cournot competition: firms choose quantities of one good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import Game, Objective, Player
from gantrain.models.strategy import Strategy, StrategySpec
from gantrain.plotting import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gantrain.config.types import Float, NonNegativeFloat, PositiveFloat


class Cournot(Game):
    """N firms produce one good: firm i chooses its quantity ``q_i`` and maximises its profit.

    The price falls with what all of them produce, ``p = intercept - slope sum_j q_j``, and firm i earns
    ``p q_i - costs_i q_i - quadratic_costs_i q_i^2 / 2``. With non-negative quantities the game has one equilibrium:
    ``q_i = max(0, (p - costs_i) / (slope + quadratic_costs_i))`` at the price p for which these quantities are those
    that are sold. Source: Cournot 1838; for the equilibrium, Rosen, Econometrica 1965.

    Args:
        firms: the players, called firm1, firm2 and so on, one for each entry of costs. The section holds for all of
            them; game.firms.firm2 has what is different for one.
        costs: what a unit of the good costs each firm.
        intercept: the price at which nothing is sold. Default 10.
        slope: by how much a unit of the good lowers the price. Default 1.
        quadratic_costs: by how much the cost of a unit rises with each unit, one number for all firms or one for each.
            Default 0.

    Raises:
        UserError: the numbers of firms and of costs differ.
    """

    callbacks: ClassVar[dict[str, str]] = {"scalars": "scalars", "pictures": "pictures"}
    takes_data: ClassVar[bool] = False
    without_losses: ClassVar[bool] = True
    numbered: ClassVar[dict[str, str]] = {"firms": "costs"}
    better: ClassVar[dict[str, str]] = {"distance": "lower"}

    def __init__(
        self,
        firms: Mapping[str, Strategy],
        costs: Sequence[Float],
        intercept: PositiveFloat = 10.0,
        slope: PositiveFloat = 1.0,
        quadratic_costs: NonNegativeFloat | Sequence[NonNegativeFloat] = 0.0,
    ):
        super().__init__([Player(name, strategy) for name, strategy in firms.items()])
        n = len(self.players)
        rises = list(quadratic_costs) if isinstance(quadratic_costs, Sequence) else [quadratic_costs] * n
        for key, numbers in {"costs": costs, "quadratic_costs": rises}.items():
            if len(numbers) != n:
                raise UserError(f"game.{key}: expected {n} numbers, one for each firm, got {len(numbers)}")
        device = next(iter(self.players.values())).parameters[0].device
        self.costs = torch.tensor(costs, dtype=torch.float32, device=device)
        self.rises = torch.tensor(rises, dtype=torch.float32, device=device)
        self.intercept = intercept
        self.slope = slope

    @property
    def evaluated_network(self) -> nn.Module:
        """The quantities of all firms."""
        return self.everyone

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """One number, the quantity."""
        return StrategySpec((1,))

    def objective(self, player: str, batch: Batch | None) -> Objective:
        """Minus the profit of the firm."""
        index = list(self.players).index(player)
        quantities = [each.module().squeeze() for each in self.players.values()]
        if not self.joint:
            quantities = [q if i == index else q.detach() for i, q in enumerate(quantities)]
        return Objective(-self._profits(torch.stack(quantities))[index])

    def scalars(self, network: nn.Module) -> Mapping[str, float | Tensor]:
        """``distance``, the Euclidean distance of the quantities from the equilibrium, and the ``price``."""
        quantities = self._quantities(network)
        return {"distance": (quantities - self.equilibrium).norm(), "price": self._price(quantities)}

    def pictures(self, network: nn.Module) -> Mapping[str, Figure]:
        """``quantities``: what each firm produces, and what it produces at the equilibrium."""
        found = {"now": self._quantities(network), "at the equilibrium": self.equilibrium}
        return {"quantities": figures.bars(found, "quantity")}

    def _price(self, quantities: Tensor) -> Tensor:
        return self.intercept - self.slope * quantities.sum()

    def _profits(self, quantities: Tensor) -> Tensor:
        return (self._price(quantities) - self.costs - self.rises * quantities / 2) * quantities

    def _quantities(self, network: nn.Module) -> Tensor:
        return torch.stack([module().squeeze() for module in network.children()])

    @property
    def equilibrium(self) -> Tensor:
        """The equilibrium, at which the cheapest firms produce: as many as are still earning when one more joins."""
        costs, weights = self.costs.double(), 1 / (self.slope + self.rises.double())
        order = costs.argsort()
        joined, spent = weights[order].cumsum(0), (weights * costs)[order].cumsum(0)
        prices = (self.intercept + self.slope * spent) / (1 + self.slope * joined)
        producing = int((costs[order] < prices).sum())
        price = prices[producing - 1] if producing else self.intercept
        return ((price - costs) * weights).clamp(min=0).float()
