"""The interface of games: a game has players, and an objective on a batch for each player."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from gantrain.data.batch import Batch
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError, is_out_of_memory

Gradient = list[Tensor | None]
"""A tensor for each parameter of a player, or None where the objective does not depend on the parameter."""


@dataclass
class Objective:
    """The objective that one player minimises on one batch.

    Args:
        loss: the scalar that the player descends.
        logits: the logits, if the loss is that of a classification; else None. They are ``(n, K)`` for K classes, or
            ``(n,)`` for a binary decision in which class 1 has this logit and class 0 has the logit zero.
        targets: ``(n,)``, the class indices that belong to ``logits``.
        scores: detached values for the log, by name, of any shape; the log takes their means.

    Examples:
        >>> import torch
        >>> logits, targets = torch.randn(4, 10), torch.arange(4)
        >>> loss = torch.nn.functional.cross_entropy(logits, targets)
        >>> sorted(vars(Objective(loss, logits, targets, {"size": logits.detach().abs()})))
        ['logits', 'loss', 'scores', 'targets']
    """

    loss: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)


class Player:
    """One player: a name, and the module whose trainable parameters are the player's strategy.

    Attributes:
        parameters: the trainable parameters, in the module's order.
        buffers: the module's buffers.
        statistics: the running means and variances among the buffers. They may be interpolated together with the
            parameters, while other buffers (the unit vectors of spectral norm, counters) may not.

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

    In a config a game is a part like the others, whose keys are the constructor's arguments. An argument may be
    annotated as the network of a player (``Generator``, ``Discriminator``, ``Classifier``, ``Perturber``), or as such a
    network or None: in the config the section of that player stands for the argument, and the constructor gets the
    network that the section describes. An argument that is annotated as a ``DataSet`` gets a further data set. An
    argument ``spec`` gets the spec of the data; a config does not give it.

    Attributes:
        players: the players by name.
        joint: whether an objective can be differentiated in the parameters of all players, which takes memory. Training
            differentiates it in the player's own parameters only, and leaves ``joint`` false.
        callbacks: the callbacks that a config may switch on: section of the config -> name of the callback.
        without_margins: the players whose objectives are no classification, so that BiSAM has no margins to climb.

    Raises:
        UserError: two players share a parameter.
    """

    joint = False
    callbacks: ClassVar[dict[str, str]] = {}
    without_margins: ClassVar[tuple[str, ...]] = ()

    def __init__(self, players: Sequence[Player]):
        self.players: dict[str, Player] = {}
        for player in players:
            self.add_player(player)

    def add_player(self, player: Player) -> None:
        """Let a further player take part, who moves after the others.

        Raises:
            UserError: the player shares a parameter with another.
        """
        owner = {id(p): other.name for other in self.players.values() for p in other.parameters}
        for p in player.parameters:
            if id(p) in owner:
                raise UserError(
                    f"players {owner[id(p)]} and {player.name} share a parameter of shape {tuple(p.shape)}; "
                    "a parameter belongs to one player"
                )
        self.players[player.name] = player

    @property
    def evaluated_player(self) -> str:
        """The name of the player whose network is the product of the training; by default the first player."""
        return next(iter(self.players))

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that is the product of the training. This network is averaged and evaluated."""
        return self.players[self.evaluated_player].module

    def fresh(self) -> Game:
        """A copy of the game that may be moved while this one stays where it is.

        By default all that the game holds is copied, except data sets, which the two share. A game that holds something
        that cannot be copied, such as an open file, must define this method.

        Raises:
            UserError: something cannot be copied.
        """
        shared = {id(value): value for value in vars(self).values() if isinstance(value, DataSet)}
        with copying(self):
            return copy.deepcopy(self, shared)

    @abstractmethod
    def objective(self, player: str, batch: Any) -> Objective:
        """The objective of ``player`` at the current parameters of all players, on ``batch``."""

    @contextmanager
    def constant(self, player: str) -> Iterator[None]:
        """Lets gradients flow through a player's network to its input, but not to its parameters.

        This saves the memory for the gradients of the parameters, which a compiled network would even compute. If the
        game is ``joint``, the context does nothing.
        """
        parameters = [] if self.joint else self.players[player].parameters
        try:
            for p in parameters:
                p.requires_grad_(False)
            yield
        finally:
            for p in parameters:
                p.requires_grad_(True)

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """The spec of the data that a player's network is built for; by default ``spec`` itself.

        Args:
            player: the name of the player.
            spec: the spec of the data.
            arguments: the game's keys in the config, with their values.
            networks: the networks of the players whose arguments stand before, by player.
        """
        return spec

    def measure(self, data: DataSet) -> None:  # noqa: B027 - most games measure nothing
        """Measure on the training data the constants that the game needs, once before a run begins.

        The constants must be buffers of the networks, so that checkpoints hold them: a resumed run does not measure.

        Args:
            data: the training data set.
        """


@contextmanager
def copying(game: Game) -> Iterator[None]:
    """A context in which the game, or a network of it, is copied; an error becomes one line that names the game."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        raise UserError(
            f"game: {type(game).__name__} cannot be copied ({type(error).__name__}: {reason:.200}); define its method "
            "fresh(self), which returns a copy with networks of its own"
        ) from error


class GenerativeGame(Game):
    """A game whose evaluated network turns latent vectors into samples.

    Attributes:
        conditional: whether the network is told the class of each sample.
        spec: the spec of the data; None if it was not given.
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
            n: the number of samples.
            seed: the seed of the latent vectors.
            labels: ``(n,)``, the classes of the samples. By default a conditional game takes all classes in turn.
            network: the network that is sampled, such as an average; by default the game's own network.
        """

    @abstractmethod
    def generate(
        self, z: Tensor, labels: Tensor | None = None, seed: int = 0, network: nn.Module | None = None
    ) -> Tensor:
        """The samples that the network makes from given latent vectors, in evaluation mode.

        Args:
            z: ``(n, latent_dim)``, the latent vectors, on any device.
            labels: ``(n,)``, the classes of the samples; only for a conditional game.
            seed: the seed of noise that the network itself draws.
            network: the network that is sampled, such as an average; by default the game's own network.
        """


# From a network and a batch of labelled samples to changed samples of the same labels.
Attack = Callable[[nn.Module, Batch], Tensor]


class ClassifyingGame(Game):
    """A game whose evaluated network maps samples ``(n, *shape)`` to the logits of their classes, ``(n, classes)``."""

    def attacks(self) -> Mapping[str, Attack]:
        """The changes of the samples under which accuracy is measured too, by name; by default none.

        An attack is called with the network in evaluation mode and without gradients, and takes its random numbers from
        the batch. The best checkpoint is the one with the highest accuracy under the last attack.
        """
        return {}
