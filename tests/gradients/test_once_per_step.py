"""Buffers that move once in a training step, under loops and oracles that evaluate the game several times."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gantrain as gt
from gantrain.errors import UserError
from gantrain.gradients.evaluator import Evaluator
from gantrain.gradients.once_per_step import OncePerStep
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Plain, SAMPa


class Counting(nn.Module):
    """One weight, and two buffers that hold sums: of the inputs' means, and of the number of passes."""

    once_per_step = ("seen",)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += x.mean()
        self.passes += 1
        return self.weight * x


class Both(gt.Game):
    """Two players, of whom each pulls at the other's weight; both networks see each batch."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__([gt.games.Player("first", first), gt.games.Player("second", second)])

    def objective(self, player, batch):
        one, other = (each.module(batch) for each in self.players.values())
        sign = 1 if player == "first" else -1
        loss = sign * (one * other).mean() + 0.1 * (one.square() + other.square()).mean()
        return gt.Objective(loss, one, torch.zeros(len(one)))


def field(oracle, parts=1):
    def batch(draw, step):
        share, of = evaluator.share
        return torch.arange(4.0, dtype=torch.float64).add(10.0 * draw).chunk(of)[share]

    game = Both(Counting(), Counting())
    evaluator = Evaluator(game, batch, accumulation=parts)
    players = game.players.values()
    return Field(evaluator, [Learner(p, torch.optim.SGD(p.parameters, lr=0.01), oracle()) for p in players])


LOOPS = {
    "gda": gt.outer.GDA,
    "alternating": lambda: gt.outer.GDA(order="alternating", critic_steps=3),
    "extragradient": gt.outer.Extragradient,
    "rapp": lambda: gt.outer.RAPP(critic_steps=2),
    "ceg_plus": gt.outer.CEGPlus,
    "lookahead": lambda: gt.outer.Lookahead(base=gt.outer.RAPP(), inner_steps=2),
}


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("oracle", [Plain, lambda: SAM(0.1), lambda: SAMPa(0.1)], ids=["plain", "sam", "sampa"])
@pytest.mark.parametrize("loop", LOOPS)
def test_the_first_evaluation_of_a_step_moves_them(loop, oracle, parts):
    one, outer, expected = field(oracle, parts), LOOPS[loop](), 0.0
    for step in range(3):
        one.evaluator.step = step
        seen = [module.module.seen.item() for module in one.evaluator.game.players.values()]
        assert seen == [expected, expected]
        before = one.evaluator.draws
        outer.step(one)
        moved = one.evaluator.game.players["first"].module.seen.item() - expected
        first = 10.0 * before + 1.5
        assert moved in (first, first + 10), "the mean of one batch, that of SAMPa's prediction or the step's first"
        expected += moved
    passes = one.evaluator.game.players["first"].module.passes
    assert passes >= 3


def test_a_step_that_is_taken_again_moves_them_again():
    one = field(Plain)
    one.move(0)
    one.move(1)
    seen = one.evaluator.game.players["first"].module.seen
    assert seen.item() == 1.5
    one.evaluator.load_state_dict(one.evaluator.state_dict())
    one.move(1)
    assert seen.item() == 13


def test_a_name_of_no_buffer_is_refused():
    class Wrong(Counting):
        once_per_step = ("weight",)

    with pytest.raises(UserError, match=r"player p: Wrong.once_per_step: expected .* such as \('seen', 'passes'\)"):
        gt.games.Player("p", Wrong())


def test_processes_take_the_mean_over_those_that_moved_them():
    class Three:
        """Three processes, of which the third has moved nothing since the others did so in its place."""

        world_size = 3

        def begin_mean(self, tensors):
            others = [[torch.tensor(4.0), torch.tensor(1.0)], [torch.tensor(0.0), torch.tensor(0.0)]]
            return lambda: [sum(each) / 3 for each in zip(tensors, *others, strict=True)]

    buffer = torch.tensor(2.0)
    one = OncePerStep([buffer])
    with one.evaluation(0, 0):
        buffer.add_(6.0)
    one.average(Three())
    assert buffer.item() == pytest.approx(6.0)
    one.moved_elsewhere(1, 1)
    with one.evaluation(1, 0):
        buffer.add_(6.0)
    assert buffer.item() == pytest.approx(6.0)
    one.average(Three())
    assert buffer.item() == pytest.approx(4.0)
