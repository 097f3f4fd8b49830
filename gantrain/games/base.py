"""The interface of games: a game has players, and an objective on a batch for each player."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from gantrain.compute.modes import eval_mode, seeded
from gantrain.compute.precision import upcast
from gantrain.config.user_code import UserCode, described, name_of
from gantrain.data.batch import Batch
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError, is_out_of_memory
from gantrain.games.calls import output_of
from gantrain.games.checks import require_gradient
from gantrain.utils.seeding import derive
from gantrain.utils.seeding import generator as source
from gantrain.utils.stateful import stateful_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        losses: ``(n,)``, the loss of each row of the batch, by which ESAM selects rows; None for the cross-entropy of
            ``logits``.

    Examples:
        >>> import torch
        >>> logits, targets = torch.randn(4, 10), torch.arange(4)
        >>> loss = torch.nn.functional.cross_entropy(logits, targets)
        >>> sorted(vars(Objective(loss, logits, targets, {"size": logits.detach().abs()})))
        ['logits', 'loss', 'losses', 'scores', 'targets']
    """

    loss: Tensor
    logits: Tensor | None = None
    targets: Tensor | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)
    losses: Tensor | None = None


class SharedPass(ABC):
    """One forward pass from which all players' gradients are taken.

    Attributes:
        objectives: the objectives of all players, by player; their losses may be without a graph.
    """

    objectives: dict[str, Objective]

    @abstractmethod
    def backward(self, scales: Mapping[str, float]) -> None:
        """Write the gradient of each player's loss, times the player's scale, into ``.grad`` of its parameters.

        Parameters on which the loss does not depend keep None there. The method is called once.

        Args:
            scales: the factors by player, as float16 needs them; 1 in any other precision.
        """


class Player:
    """One player: a name, and the module whose trainable parameters are the player's strategy.

    Attributes:
        parameters: the trainable parameters, in the module's order.
        buffers: the module's buffers.
        statistics: the running means and variances among the buffers. They may be interpolated together with the
            parameters, while other buffers (the unit vectors of spectral norm, counters) may not.
        once_per_step: the buffers that move once in a training step: those that a module names in its attribute
            ``once_per_step``.

    Raises:
        UserError: the module is none, or has no trainable parameter; ``once_per_step`` names what is no buffer.
    """

    def __init__(self, name: str, module: nn.Module):
        if not isinstance(module, nn.Module):
            raise UserError(
                f"player {name}: expected a torch.nn.Module, got {described(module)}; a game's constructor says by "
                "annotations which arguments are players, such as gt.Generator, torch.nn.Module or gt.Strategy"
            )
        require_playable(module, f"player {name}")
        self.name = name
        self.module = module
        self.take_parameters()
        self.buffers = list(module.buffers())
        running = (getattr(m, key, None) for m in module.modules() for key in ("running_mean", "running_var"))
        self.statistics = [b for b in running if isinstance(b, Tensor)]
        self.once_per_step = [m.get_buffer(name) for m in module.modules() for name in getattr(m, "once_per_step", ())]

    def take_parameters(self) -> None:
        """Take the parameters that the module has now, after others have been put in their places."""
        self.parameters: list[nn.Parameter] = [p for p in self.module.parameters() if p.requires_grad]


def require_playable(module: nn.Module, where: str) -> None:
    """Refuse a module that cannot be a player's.

    Args:
        module: the module.
        where: the key of the module in a config, or the player, for messages.

    Raises:
        UserError: it has no trainable parameter, or ``once_per_step`` of a module in it names what is no buffer.
    """
    for each in module.modules():
        names, buffers = getattr(each, "once_per_step", ()), dict(each.named_buffers(recurse=False))
        if not isinstance(names, tuple | list) or any(name not in buffers for name in names):
            raise UserError(
                f"{where}: {type(each).__name__}.once_per_step: expected a tuple of names of its buffers, such as "
                f"{tuple(buffers) or ('mean',)}, got {names!r}"
            )
    if not any(p.requires_grad for p in module.parameters()):
        raise UserError(
            f"{where}: {type(module).__name__} has no trainable parameter, so the player has nothing to learn; give it "
            "an nn.Parameter, or unfreeze at least one (requires_grad)"
        )


class Game(ABC):
    """Players in the order in which they move, each of which minimises its own objective.

    In a config a game is a part like the others, whose keys are the constructor's arguments. The annotation of an
    argument says what the config gives for it, and what the constructor gets:

    - ``gt.Generator``, ``gt.Discriminator``, ``gt.Classifier``, ``gt.Perturber``, ``torch.nn.Module`` (any network), or
      ``gt.Strategy`` (no network: the parameters are the strategy): a player of the argument's name. The config has a
      section for it, and the constructor gets the network that the section describes. ``gt.Perturber | None`` is a
      player that may be left out.
    - ``Mapping[str, gt.Strategy]``, or with another of these classes: any number of players, whose names the config
      gives, or which the game numbers, see ``numbered``. The constructor gets the networks by name.
    - ``gt.data.DataSet``, ``gt.Loss`` and the other base classes of parts: a part of that kind.
    - ``float``, ``int``, ``bool``, ``str``, ``list[float]``, ``Literal["a", "b"]``: a value.

    An argument ``spec`` gets the :class:`~gantrain.data.DataSpec` of the data; a config does not give it. The entries
    of ``Args:`` in the class's docstring describe the keys.

    Attributes:
        players: the players by name.
        joint: whether an objective can be differentiated in the parameters of all players, which takes memory. Training
            differentiates it in the player's own parameters only, and leaves ``joint`` false.
        callbacks: the callbacks that a config may switch on: section of the config -> name of the callback. There are
            "samples", "metrics", "accuracy", "correlation" (of a :class:`PredictingGame` that predicts numbers),
            "scalars" (see :meth:`scalars`) and "pictures" (see :meth:`pictures`).
        takes_data: whether the game learns from data. If it does not, a config has no ``data``, and batches hold
            nothing but random numbers, ``data.batch_size`` rows of them.
        numbered: for an argument that maps names to players, the argument whose list has an entry for each of them:
            ``{"firms": "costs"}`` calls the players ``firm1``, ``firm2`` and so on.
        better: whether a "lower" or a "higher" value of a scalar of :meth:`scalars` is better. The best checkpoint is
            kept by the first of these that is measured.
        without_margins: the players whose objectives are no classification, so that BiSAM has no margins to climb.
        without_losses: whether no objective has a loss for each row of the batch: there are then no rows for ESAM to
            select, and no margins.
        shares_a_pass: whether :meth:`shared_pass` may take the place of all players' objectives.

    Raises:
        UserError: there are no players, or two of them share a parameter or bear the same name.
    """

    joint = False
    callbacks: ClassVar[dict[str, str]] = {}
    takes_data: ClassVar[bool] = True
    numbered: ClassVar[dict[str, str]] = {}
    better: ClassVar[dict[str, str]] = {}
    without_margins: ClassVar[tuple[str, ...]] = ()
    without_losses: ClassVar[bool] = False
    shares_a_pass: bool = False

    def __init__(self, players: Sequence[Player]):
        self.players: dict[str, Player] = {}
        for player in players:
            self.add_player(player)
        if not self.players:
            raise UserError(f"game: {name_of(self)} has no players; pass at least one to super().__init__([…])")

    def add_player(self, player: Player) -> None:
        """Let a further player take part, who moves after the others.

        Raises:
            UserError: the player shares a parameter with another, or bears its name.
        """
        if not isinstance(player, Player):
            raise UserError(
                f"game: {type(self).__name__}: expected players, as in super().__init__([gt.Player(name, network)]), "
                f"got {described(player)}"
            )
        if player.name in self.players:
            raise UserError(
                f"game: {type(self).__name__}: two players are called {player.name}; give each a name of its own"
            )
        owner = {id(p): other.name for other in self.players.values() for p in other.parameters}
        for p in player.parameters:
            if id(p) in owner:
                raise UserError(
                    f"game: {type(self).__name__}: players {owner[id(p)]} and {player.name} share a parameter of shape "
                    f"{tuple(p.shape)}; a parameter belongs to one player"
                )
        self.players[player.name] = player

    @property
    def evaluated_player(self) -> str:
        """The name of the player whose network is the product of the training; by default the first player.

        A class attribute will do: ``evaluated_player = "generator"``.
        """
        return next(iter(self.players))

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that is the product of the training. This network is averaged and evaluated.

        A game whose product is what all players do returns :attr:`everyone`.
        """
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

    @property
    def everyone(self) -> nn.ModuleDict:
        """The networks of all players by name, as one module."""
        together = nn.ModuleDict()
        # Not by its own methods, which refuse names that an attribute has already, such as "values".
        together._modules.update((name, player.module) for name, player in self.players.items())
        return together

    @abstractmethod
    def objective(self, player: str, batch: Any) -> Objective:
        """The objective of ``player`` at the current parameters of all players, on ``batch``.

        All random numbers must come from the batch, so that a run does not depend on the number of processes, and
        resumes to the bit. The objective is the mean over the rows of the batch, of which each process has its share.
        Training differentiates in the player's own parameters, a diagnosis in those of all players; the parameters of
        others therefore need not, and for a diagnosis must not, be detached while the game is ``joint``.

        Args:
            player: the name of the player who minimises.
            batch: ``batch.real`` and ``batch.labels`` are the samples; ``batch.normal``, ``uniform`` and ``integers``
                give ``len(batch)`` rows of random numbers. See :class:`gantrain.data.Batch`.
        """

    def scalars(self, network: nn.Module) -> Mapping[str, float | Tensor]:
        """Scalars of the game's own, logged as ``game/NAME`` if ``callbacks`` has a "scalars"; by default none.

        They are measured every ``every`` steps of the config's section, without gradients and in evaluation mode; if
        the run keeps an average of the weights, also at the average, as ``game/NAME[ema]``. torch's generators are
        seeded from the run's seed before each measurement, so that all of them draw the same random numbers.

        Args:
            network: the evaluated network, with the weights that are trained or their average.
        """
        return {}

    def pictures(self, network: nn.Module) -> Mapping[str, Figure | Tensor]:
        """Pictures of the game's own, if ``callbacks`` has a "pictures"; by default none.

        They are written to ``pictures/NAME_step_N.png`` in the run's folder, and to TensorBoard.

        Args:
            network: the evaluated network, with the average of its weights if the run keeps one.

        Returns:
            Figures of matplotlib, or images as uint8 tensors ``(channels, height, width)``, by name.
        """
        return {}

    def shared_pass(self, batch: Any) -> SharedPass:
        """All players' objectives on ``batch`` at the current point, in one forward pass.

        It takes the place of :meth:`objective` where all players take their plain gradients at one point and
        ``shares_a_pass`` is true. Their gradients must then be the same, up to rounding.
        """
        raise TypeError(f"{type(self).__name__} shares no pass")

    def state_dict(self) -> dict[str, Any]:
        """What the parts of the game keep from step to step (see :class:`gantrain.utils.stateful.Stateful`), by part.

        The networks are not part of it.
        """
        states = {}
        for key, part in stateful_parts(self).items():
            with UserCode(f"game.{key}", part):
                states[key] = part.state_dict()
        return {key: state for key, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the parts of the game back what :meth:`state_dict` returned."""
        for key, part in stateful_parts(self).items():
            if key in state:
                with UserCode(f"game.{key}", part):
                    part.load_state_dict(state[key])

    def kept_scalars(self) -> dict[str, Tensor | float]:
        """Numbers for the log of what the parts of the game keep, by ``PART/NAME``."""
        values: dict[str, Tensor | float] = {}
        for key, part in stateful_parts(self).items():
            with UserCode(f"game.{key}", part):
                for name, value in part.scalars().items():
                    values.setdefault(f"{part.logged_as}/{name}", value)
        return values

    @contextmanager
    def constant(self, player: str) -> Iterator[None]:
        """Lets gradients flow through a player's network to its input, but not to its parameters.

        This saves the memory for the gradients of the parameters, which a compiled network would even compute. If the
        game is ``joint``, the context does nothing.
        """
        # Those that its module has now, too: a sharded network has others while it is gathered.
        of = self.players[player]
        parameters = [] if self.joint else [p for p in {*of.parameters, *of.module.parameters()} if p.requires_grad]
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
        """The spec that a player's network is built for; by default ``spec`` itself, that of the data.

        For a player without a network it is a :class:`~gantrain.models.StrategySpec`, the shape of the strategy.

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


# What else may be done where labels are given to a network that takes none.
UNCONDITIONAL = ", or game.conditional: false"


class GenerativeGame(Game):
    """A game whose evaluated network turns latent vectors into samples.

    Such a game can have the callbacks "samples" and "metrics", and ``gantrain sample`` and ``gantrain eval`` work for
    its runs. A game of your own says with :attr:`evaluated_player` which player generates, and calls that player's
    network as ``network(z, labels)``, with ``labels`` None unless it is :attr:`conditional`. The network has an
    attribute ``latent_dim``.

    Attributes:
        conditional: whether the network is told the class of each sample. By default false.
        spec: the spec of the data, by which samples are checked; None (the default) if it was not given.
    """

    conditional: bool = False
    spec: DataSpec | None = None

    @property
    def latent_dim(self) -> int:
        """The length of a latent vector.

        Raises:
            UserError: the network has no attribute ``latent_dim``, or it is that of another player.
        """
        network = self.evaluated_network
        length = getattr(network, "latent_dim", None)
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            others = [name for name, player in self.players.items() if hasattr(player.module, "latent_dim")]
            if length is None and others:
                raise UserError(
                    f"game: {name_of(self)}.evaluated_player: expected the player that makes samples, got "
                    f"{self.evaluated_player!r}, whose {name_of(network)} has no latent_dim; write evaluated_player = "
                    f'"{others[0]}" in the class'
                )
            raise UserError(
                f"game.{self.evaluated_player}.model: {name_of(network)}.latent_dim: expected the length of a latent "
                f"vector, which its constructor sets, got {described(length)}"
            )
        return length

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """The spec of the data; without the classes, unless the game has a key ``conditional`` and it is true."""
        return spec if arguments.get("conditional") else spec.unconditional()

    def generated(self, network: nn.Module, z: Tensor, labels: Tensor | None) -> Tensor:
        """``(n, *shape)``: the samples that the generator, or an average of it, makes from latent vectors."""
        key, what = f"game.{self.evaluated_player}.model", "samples of the data's shape"
        shape = None if self.spec is None else self.spec.shape
        samples = output_of(network, z, labels, key, shape, what, UNCONDITIONAL)
        return upcast(require_gradient(samples, key, network) if network is self.evaluated_network else samples)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        seed: int,
        labels: Tensor | None = None,
        network: nn.Module | None = None,
        chunk: int = 500,
    ) -> Tensor:
        """``(n, *shape)`` samples in evaluation mode: a function of the arguments and of the network's weights.

        Modes, buffers and the global random state are left as they were.

        Args:
            n: the number of samples.
            seed: the seed of the latent vectors.
            labels: ``(n,)``, the classes of the samples. By default a conditional game takes all classes in turn.
            network: the network that is sampled, such as an average; by default the game's own network.
            chunk: the number of samples in one forward pass.

        Raises:
            UserError: the game is conditional, and neither labels nor the data's spec were given.
        """
        if self.conditional and labels is None:
            labels = self._classes(n)
        return self.generate(self.latents(n, seed), labels, derive(seed, "sample networks"), network, chunk)

    def latents(self, n: int, seed: int) -> Tensor:
        """``(n, latent_dim)``, the latent vectors of :meth:`sample`: standard normal, on the CPU.

        A game whose generator is trained on other latent vectors draws those; they are then not truncated.

        Args:
            n: the number of vectors.
            seed: the seed of the vectors.
        """
        return torch.randn(n, self.latent_dim, generator=source(seed, "sample"))

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        seed: int = 0,
        network: nn.Module | None = None,
        chunk: int = 500,
    ) -> Tensor:
        """The samples that the network makes from given latent vectors, in evaluation mode.

        Modes, buffers and the global random state are left as they were.

        Args:
            z: ``(n, latent_dim)``, the latent vectors, on any device.
            labels: ``(n,)``, the classes of the samples; only for a conditional game.
            seed: the seed of noise that the network itself draws.
            network: the network that is sampled, such as an average; by default the game's own network.
            chunk: the number of samples in one forward pass.

        Raises:
            UserError: labels were given, and the game is not conditional.
        """
        if labels is not None and not self.conditional:
            raise UserError(
                "labels were given, but the game is not conditional; leave labels out, or set game.conditional"
            )
        network = self.evaluated_network if network is None else network
        device = next(network.parameters()).device
        z, labels = z.to(device), None if labels is None else labels.to(device)
        with eval_mode(network), seeded(seed, device):
            parts = [
                self.generated(network, z[i : i + chunk], None if labels is None else labels[i : i + chunk])
                for i in range(0, len(z), chunk)
            ]
        return torch.cat(parts)

    def _classes(self, n: int) -> Tensor:
        if self.spec is None:
            raise UserError("a conditional game without a spec cannot choose labels; pass labels")
        return torch.arange(n) % self.spec.classes


# From a network and a batch of labelled samples to changed samples of the same labels.
Attack = Callable[[nn.Module, Batch], Tensor]


class PredictingGame(Game):
    """A game whose evaluated network predicts the labels of samples."""

    def attacks(self) -> Mapping[str, Attack]:
        """The changes of the samples under which predictions are evaluated too, by name; by default none.

        An attack is called with the network in evaluation mode and without gradients, and takes its random numbers from
        the batch. The best checkpoint is the best one under the last attack.
        """
        return {}


class ClassifyingGame(PredictingGame):
    """A game whose evaluated network maps samples ``(n, *shape)`` to the logits of their classes, ``(n, classes)``."""
