"""Matrix games: two players choose mixed strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import Game, Objective, Player
from gantrain.models.strategy import Strategy, StrategySpec, is_mixed
from gantrain.plotting import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gantrain.config.types import Float


class Matrix(Game):
    """``max_x x' A y`` against ``max_y x' B y`` over mixed strategies x and y, with ``B = -A`` in a zero-sum game.

    The player ``row`` chooses x, a distribution over the rows of the payoffs, and ``column`` chooses y, one over the
    columns. What is measured is the sum of what both could gain by a best response (NashConv), which is 0 at Nash
    equilibria and nowhere else: ``max_i (A y)_i - x' A y + max_j (x' B)_j - x' B y``. In a zero-sum game this is the
    duality gap ``max_i (A y)_i - min_j (x' A)_j``. Sources: von Neumann 1928; Nash 1951; for the name NashConv,
    Lanctot et al., A unified game-theoretic approach to multiagent reinforcement learning, 2017.

    Args:
        row: the player that chooses a row.
        column: the player that chooses a column.
        payoff: A, what the player row receives: a list of rows, with an entry for each column.
        column_payoff: B, what the player column receives, in the same shape. null (the default): the negative of
            payoff, a zero-sum game.

    Raises:
        UserError: the payoffs are no matrices of one shape; or, when scalars are measured, a strategy has left the
            simplex.
    """

    callbacks: ClassVar[dict[str, str]] = {"scalars": "scalars", "pictures": "pictures"}
    takes_data: ClassVar[bool] = False
    better: ClassVar[dict[str, str]] = {"duality_gap": "lower", "exploitability": "lower"}
    without_losses: ClassVar[bool] = True

    def __init__(
        self,
        row: Strategy,
        column: Strategy,
        payoff: Sequence[Sequence[Float]],
        column_payoff: Sequence[Sequence[Float]] | None = None,
    ):
        super().__init__([Player("row", row), Player("column", column)])
        device = self.players["row"].parameters[0].device
        _require_matrices(payoff, column_payoff)
        self.payoff = torch.tensor(payoff, dtype=torch.float32, device=device)
        self.zero_sum = column_payoff is None
        self.column_payoff = (
            -self.payoff if column_payoff is None else torch.tensor(column_payoff, dtype=torch.float32, device=device)
        )
        for (name, player), n in zip(self.players.items(), self.payoff.shape, strict=True):
            shape = tuple(player.module().shape)
            if shape != (n,):
                raise UserError(
                    f"game.{name}.model: expected a strategy of shape ({n},), one number a {name}, got {shape}"
                )

    @property
    def evaluated_network(self) -> nn.Module:
        """The strategies of both players."""
        return self.everyone

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """A mixed strategy over the rows, or over the columns, of the payoffs."""
        _require_matrices(arguments["payoff"], arguments["column_payoff"])
        rows = arguments["payoff"]
        return StrategySpec((len(rows) if player == "row" else len(rows[0]),), simplex=True)

    def objective(self, player: str, batch: Batch | None) -> Objective:
        """Minus the expected payoff of the player."""
        x, y = (each.module() for each in self.players.values())
        if not self.joint:
            x, y = (x, y.detach()) if player == "row" else (x.detach(), y)
        payoff = self.payoff if player == "row" else self.column_payoff
        # A sum of products, since autocast would round the numbers of a matrix product.
        return Objective(-(x[:, None] * payoff * y).sum())

    def scalars(self, network: nn.Module) -> Mapping[str, float | Tensor]:
        """``duality_gap`` and ``value``, which is ``x' A y``; or ``exploitability`` and both expected payoffs."""
        x, y = self._strategies(network)
        of_rows, of_columns = self.payoff @ y, x @ self.column_payoff
        row, column = x @ of_rows, of_columns @ y
        gains = of_rows.max() - row + of_columns.max() - column
        if self.zero_sum:
            return {"duality_gap": gains, "value": row}
        return {"exploitability": gains, "payoff/row": row, "payoff/column": column}

    def pictures(self, network: nn.Module) -> Mapping[str, Figure]:
        """``strategies``: the probability of each row and each column."""
        row, column = self._strategies(network)
        return {"strategies": figures.bars({"row": row, "column": column}, "probability")}

    def _strategies(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        found = {name: module() for name, module in network.named_children()}
        for name, strategy in found.items():
            if not is_mixed(strategy):
                raise UserError(
                    f"game.{name}: the strategy has left the simplex (the numbers sum to {strategy.sum():g}, the "
                    f"least {strategy.min():g}); use optimizer: mirror, constraint: simplex, or model: softmax"
                )
        return found["row"], found["column"]


def _require_matrices(payoff: Sequence[Sequence[float]], column_payoff: Sequence[Sequence[float]] | None) -> None:
    """Refuse payoffs that are no matrices of one shape."""
    for key, rows in {"payoff": payoff, "column_payoff": column_payoff}.items():
        if rows is None:
            continue
        lengths = {len(row) for row in rows}
        if len(lengths) != 1 or 0 in lengths:
            raise UserError(f"game.{key}: expected rows of the same number of entries, got {sorted(lengths)} entries")
        if not all(math.isfinite(entry) for row in rows for entry in row):
            raise UserError(f"game.{key}: expected finite numbers")
    if column_payoff is not None:
        expected, got = (f"{len(rows)} x {len(rows[0])}" for rows in (payoff, column_payoff))
        if expected != got:
            raise UserError(f"game.column_payoff: expected {expected} entries, as payoff has, got {got}")
