"""The contract of outer loops."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.games.base import Game, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.outer.gda import GDA
from gantrain.outer.learner import Learner
from gantrain.testing.copies import copies


class PairGame(Game):
    """A small stochastic game of two players, whose networks have two layers and batch norm.

    A batch is a tensor ``(n, 3)``. Each player has a frozen parameter, and a parameter that no objective reaches.
    """

    def __init__(self) -> None:
        players = []
        for i, name in enumerate(("first", "second")):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(i)
                module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).double()
            module.register_parameter("frozen", nn.Parameter(torch.ones(2).double(), requires_grad=False))
            module.register_parameter("unreached", nn.Parameter(torch.ones(2).double()))
            players.append(Player(name, module))
        super().__init__(players)

    def objective(self, player: str, batch: Tensor) -> Objective:
        first, second = (p.module(batch) for p in self.players.values())
        value = (first * second).mean() + 0.1 * first.square().mean() - 0.1 * second.square().mean()
        return Objective(value if player == "first" else -value)


def pair_batches(draw: int, step: int) -> Tensor:
    """The batch of a draw, which is a function of the draw alone."""
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)


def pair_field(
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam, lr: float = 0.01, **settings: Any
) -> Field:
    """A field over a new :class:`PairGame`.

    Args:
        optimizer: the class of the players' optimizers.
        lr: the learning rate.
        settings: further arguments of the evaluator.
    """
    game = PairGame()
    learners = [Learner(player, optimizer(player.parameters, lr=lr)) for player in game.players.values()]
    return Field(Evaluator(game, pair_batches, **settings), learners)


def tensors(field: Field) -> list[Tensor]:
    """Copies of all parameters and buffers."""
    return [t.detach().clone() for p in field.evaluator.game.players.values() for t in p.module.state_dict().values()]


def run(loop: Outer, field: Field, steps: int) -> list[bool]:
    """Take training steps, and return for each step whether it completed an outer step."""
    completed = []
    for _ in range(steps):
        completed.append(loop.step(field))
        field.evaluator.step += 1
    return completed


class OuterContract(ABC):
    """The contract of outer loops.

    Attributes:
        gradients: the number of gradient evaluations of the last player in a training step.
        critic_steps: how many times as many each of the other players has.
        cycle: the number of training steps in an outer step.
        copies: the copies of all parameters that the loop holds at most, beside parameters, gradients and the
            optimizers' states; None leaves this untested.
    """

    gradients: int = 1
    critic_steps: int = 1
    cycle: int = 1
    copies: float | None = None

    @abstractmethod
    def make(self) -> Outer:
        """A new loop."""

    def test_costs_the_gradients_it_says(self) -> None:
        field = pair_field()
        run(self.make(), field, 3 * self.cycle)
        assert field.evaluator.evaluations == {
            "first": 3 * self.cycle * self.gradients * self.critic_steps,
            "second": 3 * self.cycle * self.gradients,
        }

    def test_says_when_an_outer_step_is_complete(self) -> None:
        completed = run(self.make(), pair_field(), 2 * self.cycle)
        assert completed == ([False] * (self.cycle - 1) + [True]) * 2

    def test_differs_from_simultaneous_gradient_descent_ascent(self) -> None:
        loop, field, base = self.make(), pair_field(), pair_field()
        run(loop, field, 2 * self.cycle)
        run(GDA(), base, 2 * self.cycle)
        same = all(torch.equal(a, b) for a, b in zip(tensors(field), tensors(base), strict=True))
        assert same == (type(loop) is GDA and loop.order is None)

    def test_parameters_keep_their_storage(self) -> None:
        field = pair_field()
        before = [p.data_ptr() for learner in field.learners for p in learner.parameters]
        run(self.make(), field, 2 * self.cycle)
        assert [p.data_ptr() for learner in field.learners for p in learner.parameters] == before

    def test_what_gets_no_gradient_stays_put(self) -> None:
        field = pair_field()
        run(self.make(), field, 2 * self.cycle)
        for player in field.evaluator.game.players.values():
            module, new = player.module, PairGame().players[player.name].module
            assert torch.equal(module.get_parameter("frozen"), torch.ones(2).double())
            assert torch.equal(module.get_parameter("unreached"), torch.ones(2).double())
            assert not torch.equal(module.get_parameter("0.weight"), new.get_parameter("0.weight"))

    def test_goes_on_bit_identically_from_its_state(self) -> None:
        straight = pair_field()
        run(self.make(), straight, 7)
        for split in range(1, 7):
            loop, field = self.make(), pair_field()
            run(loop, field, split)
            resumed_loop, resumed = self.make(), pair_field()
            for name, player in resumed.evaluator.game.players.items():
                player.module.load_state_dict(field.evaluator.game.players[name].module.state_dict())
            for new, old in zip(resumed.learners, field.learners, strict=True):
                new.optimizer.load_state_dict(copy.deepcopy(old.optimizer.state_dict()))
            resumed.evaluator.step = field.evaluator.step
            resumed.load_state_dict(copy.deepcopy(field.state_dict()))
            resumed_loop.load_state_dict(copy.deepcopy(loop.state_dict()))
            run(resumed_loop, resumed, 7 - split)
            assert all(torch.equal(a, b) for a, b in zip(tensors(resumed), tensors(straight), strict=True)), split

    def test_holds_the_copies_it_says(self) -> None:
        if self.copies is not None:
            _, at_most = copies(self.make, players=2)
            assert abs(at_most - self.copies) < 0.01

    def test_leaves_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        run(self.make(), pair_field(), self.cycle)
        assert torch.equal(torch.get_rng_state(), before)
