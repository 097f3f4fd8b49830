"""Games given by functions, solved from a starting point: the mathematics without the trainer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.config.parts import build
from gantrain.config.types import shown
from gantrain.errors import UserError
from gantrain.games.function import FunctionGame
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.optimizers import make_optimizer, make_scheduler
from gantrain.outer.base import check_moves
from gantrain.outer.field import Field, Order, Samples
from gantrain.outer.learner import Learner


class Path(dict):
    """The iterates of a game: by player, a tensor ``(steps + 1, *shape)`` (for a module, ``(steps + 1, n)``).

    Attributes:
        evaluations: gradient evaluations by player.
        modules: by player, the final strategy where it is a module.
    """

    def __init__(self, iterates: dict[str, Tensor], evaluations: dict[str, int], modules: dict[str, nn.Module]):
        super().__init__(iterates)
        self.evaluations = evaluations
        self.modules = modules


@torch.enable_grad()
def solve(
    game: FunctionGame,
    outer: Any = "gda",
    optimizer: Any = None,
    order: Order | None = "simultaneous",
    samples: Samples | None = "fresh",
    sharpness: Any = None,
    constraint: Any = None,
    scheduler: Any = None,
    batches: Sequence[Any] | None = None,
    steps: int = 100,
) -> Path:
    """Run an outer loop on a game and return the iterate after each outer step.

    The game itself stays where it is, and no global state (random generators, default dtype, threads) is touched.
    Every part is a mapping with a ``name`` as in the YAML files, a bare name, or an object, of which each player is
    given a copy. Optimizers and schedulers cannot be objects, since those belong to parameters of their own.

    Args:
        game: players at their starting point.
        outer: the outer loop.
        optimizer: one for all players, or a mapping from player to optimizer; SGD with lr = 0.1 by default.
        order: "simultaneous", or "alternating": players move in the order given. It holds for the innermost loop unless
            that sets its own; so does ``samples``.
        samples: whether the inner moves of a step take "fresh" batches or the "same".
        sharpness: a gradient oracle for all players or by player; the plain gradient by default.
        constraint: a resolvent applied to each player, or a mapping from player to resolvent in which ``joint`` stands
            for all players' parameters together.
        scheduler: a learning-rate scheduler for all players or by player, stepped once an outer step.
        batches: the data; draw ``t`` takes ``batches[t % len(batches)]``. The game's own by default.
        steps: outer steps.

    Returns:
        A :class:`Path`: ``path["x"]`` has shape ``(steps + 1, *x0.shape)``.

    Raises:
        UserError: an unknown part, key, player or order; a value out of range; an objective that is not a scalar.
    """
    check_moves(order, samples)
    if not isinstance(game, FunctionGame):
        raise UserError(f"game: expected one of gantrain.games, got {shown(game)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise UserError(f"steps: expected a whole number of at least 0, got {shown(steps)}")
    game = game.fresh()
    data = game.batches if batches is None else batches
    if data is not None and not (hasattr(data, "__getitem__") and hasattr(data, "__len__") and len(data)):
        raise UserError(f"batches: expected a sequence of at least one batch, got {shown(data)}")

    optimizers = _by_player("optimizer", {"name": "sgd", "lr": 0.1} if optimizer is None else optimizer, game)
    oracles = _by_player("sharpness", sharpness, game)
    resolvents = _by_player("constraint", constraint, game, extra=("joint",))
    schedules = _by_player("scheduler", scheduler, game)
    learners = [
        Learner(
            player,
            make_optimizer(_given(optimizers, name), player.module, f"optimizer.{name}"),
            copy.deepcopy(build("sharpness", oracles.get(name))),
            build("constraint", resolvents.get(name)),
        )
        for name, player in game.players.items()
    ]
    made = [make_scheduler(schedules.get(one.name), one.optimizer, f"scheduler.{one.name}") for one in learners]
    schedulers = [scheduler for scheduler in made if scheduler is not None]
    evaluator = Evaluator(game, lambda draw, step: None if data is None else data[draw % len(data)])
    field = Field(
        evaluator,
        learners,
        order or "simultaneous",
        samples or "fresh",
        build("constraint", resolvents.get("joint")),
    )
    loop = copy.deepcopy(build("outer", "gda" if outer is None else outer))

    path = {name: [_vector(player.module)] for name, player in game.players.items()}
    for _ in range(steps):
        complete = False
        while not complete:
            complete = loop.step(field)
            evaluator.step += 1
        for s in schedulers:
            s.step()
        for name, player in game.players.items():
            path[name].append(_vector(player.module))
    return Path(
        {name: torch.stack(points) for name, points in path.items()},
        evaluator.evaluations,
        {name: player.module for name, player in game.players.items()},
    )


def _by_player(key: str, spec: Any, game: FunctionGame, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """A part for each player, from one part for all or from a mapping by player."""
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
        raise UserError(f"optimizer: player {name} has none")
    return optimizers[name]


def _vector(module: nn.Module) -> Tensor:
    """The trainable parameters: as they are where there is one, as one vector otherwise."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if len(parameters) == 1:
        return parameters[0].detach().clone()
    return torch.nn.utils.parameters_to_vector(parameters).detach().clone()
