"""Solves games that are given by functions, from a starting point, without a trainer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.config.parts import build
from gantrain.config.types import Draws, Order, shown
from gantrain.errors import UserError
from gantrain.games.function import FunctionGame
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.optimizers import make_optimizer, make_scheduler
from gantrain.outer.base import check_moves
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner


class Path(dict):
    """The iterates of a game: for each player a tensor ``(steps + 1, *shape)``.

    If a strategy is a module, its iterates are vectors of its n trainable parameters: ``(steps + 1, n)``.

    Attributes:
        evaluations: the number of gradient evaluations, by player.
        modules: the modules of the players at the last iterate, by player.
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
    samples: Draws | None = "fresh",
    sharpness: Any = None,
    constraint: Any = None,
    scheduler: Any = None,
    batches: Sequence[Any] | None = None,
    steps: int = 100,
) -> Path:
    """Run an outer loop on a game and return the iterate after each outer step.

    The game itself stays at its starting point, and no global state (random generators, default dtype, threads)
    changes. A part is given as a mapping with a ``name`` as in the YAML files, as a bare name, or as an object, which
    is copied for each player. An optimizer or a scheduler cannot be given as an object, because such an object belongs
    to parameters of its own.

    Args:
        game: the game, with its players at their starting point.
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
        batches: the data: draw ``t`` takes ``batches[t % len(batches)]``. By default the game's own batches.
        steps: the number of outer steps.

    Returns:
        The iterates as a :class:`Path`: ``path["x"]`` has shape ``(steps + 1, *x0.shape)``.

    Raises:
        UserError: a part, key, player or order is unknown; a value is out of range; an objective is not a scalar.

    Examples:
        Simultaneous gradient steps leave the solution (0, 0) of a bilinear game; RAPP finds it.

        >>> from gantrain.games.toy import Bilinear
        >>> game = Bilinear(start=(1.0, 1.0))
        >>> for outer in ("gda", {"name": "rapp", "inner_steps": 3, "relaxation": 0.9}):
        ...     path = solve(game, outer, {"name": "sgd", "lr": 0.5}, steps=50)
        ...     print(f"{game.distances(path)[-1].item():.2g}")
        3.7e+02
        0.00032
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
    loop.require(field)

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
    """A copy of the trainable parameters: in its own shape if there is only one, otherwise all as one vector."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if len(parameters) == 1:
        return parameters[0].detach().clone()
    return torch.nn.utils.parameters_to_vector(parameters).detach().clone()
