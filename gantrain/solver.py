"""Solves games from a starting point, without a trainer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from gantrain.compute.memory import out_of_memory
from gantrain.config.parts import build
from gantrain.config.types import Draws, Order, shown
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import Game
from gantrain.games.function import FunctionGame
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.optimizers import make_optimizer, make_scheduler
from gantrain.outer.base import Outer, check_moves
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner, scheduled_numbers


class Path(dict):
    """The iterates of a game: for each player a tensor ``(k, *shape)`` of the k iterates that were kept.

    If a strategy is a module, its iterates are vectors of its n trainable parameters: ``(k, n)``. A module with one
    trainable tensor has iterates of that tensor's shape.

    Attributes:
        steps: the k outer steps after which the iterates were taken; the starting point has the step 0.
        evaluations: the number of gradient evaluations, by player.
        modules: the modules of the players at the last iterate, by player.
    """

    def __init__(
        self,
        iterates: Mapping[str, Tensor],
        steps: Sequence[int],
        evaluations: dict[str, int],
        modules: dict[str, nn.Module],
    ):
        super().__init__(iterates)
        self.steps = tuple(steps)
        self.evaluations = evaluations
        self.modules = modules


@torch.enable_grad()
def solve(
    game: Game,
    outer: Any = "gda",
    optimizer: Any = None,
    order: Order | None = "simultaneous",
    samples: Draws | None = "fresh",
    sharpness: Any = None,
    constraint: Any = None,
    scheduler: Any = None,
    batches: Sequence[Any] | Callable[[int, int], Any] | None = None,
    steps: int = 100,
    keep: Literal["all", "last"] | int = "all",
) -> Path:
    """Run an outer loop on a game and return its iterates.

    The game itself stays at its starting point: its copy moves, see :meth:`gantrain.Game.fresh`. No global state
    (default dtype, threads, gradients on or off) changes; only a network that draws random numbers itself, such as
    dropout, takes them from torch's global generator.

    A part is given as a mapping with a ``name`` as in the YAML files, as a bare name, or as an object, which is copied
    for each player. An optimizer or a scheduler cannot be given as an object, because such an object belongs to
    parameters of its own.

    Args:
        game: the game, with its players at their starting point: a game given by functions, a GAN, one of your own.
        outer: the outer loop; gradient descent ascent by default.
        optimizer: one optimizer for all players, or a mapping from player to optimizer; SGD with lr = 0.1 by default.
        order: "simultaneous" (the default), or "alternating": the players move one after the other, in the order of the
            game. An innermost loop that sets its own order keeps it.
        samples: whether the inner moves of a step take "fresh" batches (the default) or the "same" batch. An innermost
            loop that sets this itself keeps its own setting.
        sharpness: a gradient oracle for all players, or a mapping from player to oracle; by default the plain gradient.
        constraint: a resolvent for each player, or a mapping from player to resolvent, in which ``joint`` stands for
            all players' parameters together; by default none.
        scheduler: a learning-rate scheduler for all players, or a mapping from player to scheduler; it takes a step
            after each outer step. By default none.
        batches: the data: a sequence, of which draw ``t`` takes ``batches[t % len(batches)]``, or a function of the
            draw and the training step, such as :class:`gantrain.data.Batches`. By default the batches of a game that is
            given by functions. Other games do without only if their objectives do not look at the batch.
        steps: the number of outer steps.
        keep: which iterates are kept, in memory and in the path: "all" (the default), "last", or every so many outer
            steps: 10 keeps those after 0, 10, 20, … steps, and the last.

    Returns:
        The iterates as a :class:`~gantrain.solver.Path`: ``path["x"]`` has shape ``(steps + 1, *x0.shape)``, or fewer
        rows if not all are kept, and ``path.steps`` says after which steps they were taken.

    Raises:
        UserError: a part, key, player or order is unknown; a value is out of range; an objective is not a scalar, or
            asks for a batch where there are none; the game cannot be copied.

    Examples:
        Simultaneous gradient steps leave the solution (0, 0) of a bilinear game; RAPP finds it.

        >>> from gantrain.games.toy import Bilinear
        >>> game = Bilinear(start=(1.0, 1.0))
        >>> for outer in ("gda", {"name": "rapp", "inner_steps": 3, "relaxation": 0.9}):
        ...     path = solve(game, outer, {"name": "sgd", "lr": 0.5}, steps=50)
        ...     print(f"{game.distances(path)[-1].item():.2g}")
        3.7e+02
        0.00032

        Of a large game you keep a few iterates only.

        >>> path = solve(game, "extragradient", steps=25, keep=10)
        >>> path.steps, path["x"].shape
        ((0, 10, 20, 25), torch.Size([4]))
    """
    check_moves(order, samples)
    if not isinstance(game, Game):
        raise UserError(f"game: expected a gantrain.Game, such as one of gantrain.games, got {shown(game)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise UserError(f"steps: expected a whole number of at least 0, got {shown(steps)}")
    kept = _kept(keep, steps)
    source = _source(game, batches)
    game = game.fresh()
    joint = _by_player("constraint", constraint, game, extra=("joint",)).get("joint")
    learners = _learners(game, optimizer, sharpness, constraint)
    schedulers = _schedulers(learners, scheduler, game)
    evaluator = Evaluator(game, source)
    field = Field(evaluator, learners, order or "simultaneous", samples or "fresh", build("constraint", joint))
    loop: Outer = copy.deepcopy(build("outer", "gda" if outer is None else outer))
    for key in scheduled_numbers(game, learners, loop, field.constraint):
        raise UserError(f"{key}: a schedule goes by the images that a run has seen; give gt.solve a number, or train")
    loop.require(field)

    iterates = _Iterates(game, kept)
    iterates.take(0)
    for step in range(1, steps + 1):
        complete = False
        while not complete:
            complete = loop.step(field)
            evaluator.step += 1
        for s in schedulers:
            s.step()
        iterates.take(step)
    modules = {name: player.module for name, player in game.players.items()}
    return Path(iterates.tensors, kept, evaluator.evaluations, modules)


class _NoBatch:
    """Stands for the batch that a game's objective gets where no batches were given, and says so when it is used."""

    def __init__(self, game: str):
        self._game = game

    def __getattr__(self, name: str) -> Any:
        raise UserError(
            f"batches: the objective of {self._game} asks its batch for {name}, and there are none; give some, such as "
            "batches=gt.data.Batches(data, batch_size=64, seed=0)"
        )

    def __len__(self) -> int:
        return int(self.__getattr__("its length"))


class _Iterates:
    """The iterates that are kept, in tensors that are allocated once.

    Args:
        game: the game that moves.
        kept: the outer steps after which an iterate is taken, in ascending order.
    """

    def __init__(self, game: Game, kept: Sequence[int]):
        self._modules = {name: player.module for name, player in game.players.items()}
        self._kept = kept
        self._row = 0
        with out_of_memory(lambda: "keep", lambda: f'for {len(kept)} iterates; keep fewer, such as keep="last"'):
            self.tensors = {
                name: (point := _vector(module)).new_empty((len(kept), *point.shape))
                for name, module in self._modules.items()
            }

    def take(self, step: int) -> None:
        """Copy the present point, if the iterate after that step is kept."""
        if step == self._kept[self._row]:
            for name, module in self._modules.items():
                self.tensors[name][self._row] = _vector(module)
            self._row += 1


def _kept(keep: str | int, steps: int) -> Sequence[int]:
    """The outer steps after which an iterate is kept, in ascending order."""
    if keep == "all":
        return range(steps + 1)
    if keep == "last":
        return (steps,)
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise UserError(f'keep: expected "all", "last" or a number of outer steps of at least 1, got {shown(keep)}')
    return sorted({*range(0, steps + 1, keep), steps})


def _source(game: Game, batches: Any) -> Callable[[int, int], Any]:
    """The function from a draw and a training step to a batch."""
    if batches is None and isinstance(game, FunctionGame):
        batches = game.batches
    if batches is None:
        nothing = None if isinstance(game, FunctionGame) else _NoBatch(type(game).__name__)
        return lambda draw, step: nothing
    if isinstance(batches, DataSet | Dataset):
        raise UserError(
            f"batches: expected batches, got the data set {type(batches).__name__}; give "
            "gantrain.data.Batches(data, batch_size=64, seed=0)"
        )
    if hasattr(batches, "__getitem__") and hasattr(batches, "__len__"):
        if len(batches):
            return lambda draw, step: batches[draw % len(batches)]
    elif callable(batches):
        function: Callable[[int, int], Any] = batches
        return function
    raise UserError(
        f"batches: expected a sequence of at least one batch, or a function of the draw and the step, "
        f"such as gt.data.Batches(data, batch_size=64, seed=0), got {shown(batches)}"
    )


def _learners(game: Game, optimizer: Any, sharpness: Any, constraint: Any) -> list[Learner]:
    """A learner for each player, in the order in which the players move."""
    optimizers = _by_player("optimizer", {"name": "sgd", "lr": 0.1} if optimizer is None else optimizer, game)
    oracles = _by_player("sharpness", sharpness, game)
    resolvents = _by_player("constraint", constraint, game, extra=("joint",))
    return [
        Learner(
            player,
            make_optimizer(_given(optimizers, name), player.module, f"optimizer.{name}"),
            copy.deepcopy(build("sharpness", oracles.get(name))),
            build("constraint", resolvents.get(name)),
        )
        for name, player in game.players.items()
    ]


def _schedulers(learners: Sequence[Learner], scheduler: Any, game: Game) -> list[LRScheduler]:
    schedules = _by_player("scheduler", scheduler, game)
    made = [make_scheduler(schedules.get(one.name), one.optimizer, f"scheduler.{one.name}") for one in learners]
    return [scheduler for scheduler in made if scheduler is not None]


def _by_player(key: str, spec: Any, game: Game, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """The parts by player, from one part for all players or from a mapping from player to part."""
    if spec is None:
        return {}
    if not isinstance(spec, Mapping) or "name" in spec or "target" in spec:
        return dict.fromkeys(game.players, spec)
    known = (*game.players, *extra)
    for name in spec:
        if name not in known:
            raise UserError(f"{key}: unknown player {name!r}; the players are {', '.join(known)}")
    return dict(spec)


def _given(optimizers: dict[str, Any], name: str) -> Any:
    if optimizers.get(name) is None:
        raise UserError(f"optimizer: player {name} has none; name one for each player")
    return optimizers[name]


def _vector(module: nn.Module) -> Tensor:
    """The trainable parameters: in its own shape if there is only one, otherwise all as one vector."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if len(parameters) == 1:
        return parameters[0].detach()
    return torch.nn.utils.parameters_to_vector(parameters).detach()
