"""What a game is: players, and for each of them an objective on a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError

Gradient = list[Tensor | None]
"""A tensor for each parameter of a player, or None where the objective does not depend on the parameter."""


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
    """One player: a name, and the module whose trainable parameters are its strategy.

    Attributes:
        parameters: the trainable parameters, in the module's order.
        buffers: the module's buffers.
        statistics: the running means and variances among the buffers, which may be interpolated together with the
            parameters. Other buffers (the unit vectors of spectral norm, counters) may not.

    Raises:
        UserError: the module has no trainable parameter.
    """

    def __init__(self, name: str, module: nn.Module):
        self.name = name
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.buffers = list(module.buffers())
        running = (getattr(m, key, None) for m in module.modules() for key in ("running_mean", "running_var"))
        self.statistics = [b for b in running if isinstance(b, Tensor)]
        if not self.parameters:
            raise UserError(f"player {name}: no trainable parameter; unfreeze at least one (requires_grad)")


class Game(ABC):
    """Players in the order in which they move, each of which minimises its own objective.

    In a config a game is a part like the others. Its keys are the constructor's arguments; an argument that is
    annotated as the network of a player (``Generator``, ``Discriminator``, ``Classifier``) stands in the config as the
    section of that player, and is given as the network that the section describes. An argument ``spec`` is given the
    data's spec.

    Attributes:
        players: each name's :class:`Player`.
        joint: whether an objective is a function of all players' parameters that can be differentiated in each, which
            takes memory; in training only the player's own count.
        callbacks: what may be looked at while the game trains: section of the config -> name of a callback.

    Raises:
        UserError: two players share a parameter.
    """

    joint = False
    callbacks: ClassVar[dict[str, str]] = {}

    def __init__(self, players: Sequence[Player]):
        self.players = {player.name: player for player in players}
        owner: dict[int, str] = {}
        for player in players:
            for p in player.parameters:
                other = owner.setdefault(id(p), player.name)
                if other != player.name:
                    raise UserError(
                        f"players {other} and {player.name} share a parameter of shape {tuple(p.shape)}; "
                        "a parameter belongs to one player"
                    )

    @property
    def evaluated_player(self) -> str:
        """The name of the player whose network training is for: the first by default."""
        return next(iter(self.players))

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that training is for, which is averaged and evaluated."""
        return self.players[self.evaluated_player].module

    @abstractmethod
    def objective(self, player: str, batch: Any) -> Objective:
        """The objective of ``player`` at the current parameters of all players, on ``batch``."""

    @classmethod
    def spec_for_networks(cls, spec: DataSpec, arguments: Mapping[str, Any]) -> DataSpec:
        """The data's spec as the networks are built from it, by default the data's own.

        Args:
            spec: the data's.
            arguments: the game's keys in the config.
        """
        return spec

    def measure(self, data: Any) -> None:  # noqa: B027 - most games measure nothing
        """Measure on the training data what the game needs, once before a run begins. A checkpoint must hold it.

        Args:
            data: the data set.
        """


class GenerativeGame(Game):
    """A game whose evaluated network makes samples of latent vectors.

    Attributes:
        conditional: whether the network is told the class of each sample.
        spec: the data's spec; None where it was not given.
    """

    conditional: bool
    spec: DataSpec | None

    @property
    @abstractmethod
    def latent_dim(self) -> int:
        """The length of a latent vector."""

    @abstractmethod
    def sample(self, n: int, seed: int, labels: Tensor | None = None, network: nn.Module | None = None) -> Tensor:
        """``(n, *shape)`` samples in evaluation mode: a function of the arguments and of the network's weights.

        Args:
            n: number of samples.
            seed: of the latent vectors.
            labels: ``(n,)``; in a conditional game the classes in turn by default.
            network: instead of the game's own network, such as an average of it.
        """

    @abstractmethod
    def generate(
        self, z: Tensor, labels: Tensor | None = None, seed: int = 0, network: nn.Module | None = None
    ) -> Tensor:
        """The samples of given latent vectors, in evaluation mode.

        Args:
            z: ``(n, latent_dim)``, on any device.
            labels: ``(n,)``, in a conditional game.
            seed: of noise that the network draws itself.
            network: instead of the game's own network, such as an average of it.
        """


class ClassifyingGame(Game):
    """A game whose evaluated network maps samples ``(n, *shape)`` to the logits of their classes, ``(n, classes)``."""
