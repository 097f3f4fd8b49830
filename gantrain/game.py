"""What a game is: players, and for each of them an objective on a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class Objective:
    """What one player minimises on one batch.

    Args:
        loss: the scalar that the player descends.
        logits: where the loss is a classification, its logits: ``(n, K)`` for K classes, or ``(n,)`` for a binary
            decision whose class 1 has the logit and class 0 has zero.
        targets: ``(n,)`` class indices that go with ``logits``.
        scores: detached raw values worth monitoring, by name; they are averaged only when they are logged.
    """

    loss: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)


class Player:
    """One player: a name, and the module whose trainable parameters are its strategy."""

    def __init__(self, name: str, module: nn.Module):
        self.name = name
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    @property
    def buffers(self) -> list[Tensor]:
        return list(self.module.buffers())


class Game(ABC):
    """Players in the order in which they move, each of which minimises its own objective.

    ``players`` maps each name to its :class:`Player`. A module may belong to one player only.
    """

    def __init__(self, players: list[Player]):
        self.players = {player.name: player for player in players}

    @abstractmethod
    def objective(self, player: str, batch: Any) -> Objective:
        """The objective of ``player`` at the current parameters of all players, on ``batch``."""
