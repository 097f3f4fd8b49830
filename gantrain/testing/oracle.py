"""The contract of gradient oracles."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gantrain.errors import UserError
from gantrain.games.base import Game, Objective, Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness.base import Oracle, Plain
from gantrain.testing.copies import copies


class Broken(Exception):
    """The error that :class:`Duel` raises on request."""


class Duel(Game):
    """A game of two classifiers on one batch, each disturbed by the other's logits, in double precision.

    The batch is ``(inputs (n, 3), targets (n,))`` with three classes. Each player has batch norm, a frozen parameter,
    and a parameter that no objective reaches.

    Args:
        spectral: whether the weights are spectrally normalised.

    Attributes:
        passes_left: the number of evaluations that succeed before an objective raises :class:`Broken` after its forward
            pass; None if no objective raises it.
    """

    def __init__(self, spectral: bool = False) -> None:
        players = []
        for i, name in enumerate(("first", "second")):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(i)
                module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double()
                if spectral:
                    spectrally_normalised(module)
            module.register_parameter("frozen", nn.Parameter(torch.ones(2).double(), requires_grad=False))
            module.register_parameter("unreached", nn.Parameter(torch.ones(2).double()))
            players.append(Player(name, module))
        super().__init__(players)
        self.passes_left: int | None = None

    def objective(self, player: str, batch: tuple[Tensor, Tensor]) -> Objective:
        inputs, targets = batch
        first, second = (p.module(inputs) for p in self.players.values())
        if self.passes_left == 0:
            raise Broken
        if self.passes_left is not None:
            self.passes_left -= 1
        own = first if player == "first" else second
        value = cross_entropy(own, targets) + 0.1 * (first * second).mean() * (1 if player == "first" else -1)
        return Objective(value, logits=own, targets=targets)


def duel_batches(draw: int, step: int) -> tuple[Tensor, Tensor]:
    """The batch of a draw, which is a function of the draw alone."""
    source = torch.Generator().manual_seed(draw)
    return torch.randn(12, 3, generator=source, dtype=torch.float64), torch.randint(3, (12,), generator=source)


def duel_field(make: Callable[[], Oracle], spectral: bool = False, **settings: Any) -> Field:
    """A field over a new :class:`Duel`, in which each player has a new oracle and AdamW.

    Args:
        make: makes an oracle.
        spectral: whether the weights are spectrally normalised.
        settings: further arguments of the evaluator.
    """
    game = Duel(spectral)
    learners = [
        Learner(player, torch.optim.AdamW(player.parameters, lr=0.02, weight_decay=0.1), make())
        for player in game.players.values()
    ]
    return Field(Evaluator(game, duel_batches, **settings), learners)


def run(field: Field, moves: int) -> Field:
    """Move the players, each time on a fresh batch, and return the field."""
    for _ in range(moves):
        field.move(field.draw())
        field.evaluator.step += 1
    return field


class OracleContract(ABC):
    """The contract of gradient oracles.

    Attributes:
        gradients: the number of gradient evaluations in a move; where moves differ, those of the first moves until the
            numbers come again.
        first: the number of additional gradient evaluations in the first move.
        copies: the copies of the player's parameters that the oracle holds at most, beside parameters, gradient and the
            optimizer's state; None leaves this untested.
    """

    gradients: int | tuple[int, ...] = 2
    copies: float | None = None
    first: int = 0

    @abstractmethod
    def make(self) -> Oracle:
        """A new oracle that differs from the plain gradient."""

    def make_flat(self) -> Oracle | None:
        """A new oracle with radius zero, if it then gives the plain gradient of the loss; otherwise None."""
        return None

    def _gradients_of(self, move: int) -> int:
        numbers = (self.gradients,) if isinstance(self.gradients, int) else self.gradients
        return numbers[move % len(numbers)]

    def test_costs_the_gradients_it_says(self) -> None:
        field = run(duel_field(self.make), 3)
        assert set(field.evaluator.evaluations.values()) == {self.first + sum(map(self._gradients_of, range(3)))}

    def test_differs_from_the_plain_gradient(self) -> None:
        assert not _same(_parameters(run(duel_field(self.make), 3)), _parameters(run(duel_field(Plain), 3)))

    def test_is_the_plain_gradient_at_radius_zero(self) -> None:
        first, second = self.make_flat(), self.make_flat()
        if first is not None and second is not None:
            both = iter((first, second))
            flat, plain = run(duel_field(lambda: next(both)), 3), run(duel_field(Plain), 3)
            assert _same(_parameters(flat), _parameters(plain))

    def test_an_evaluation_moves_nothing_but_buffers_and_grad(self) -> None:
        field = run(duel_field(self.make, spectral=True), 2)
        before = _parameters(field), copy.deepcopy(_optimizers(field)), _state_tensors(field)
        field.evaluate(field.draw(), field.learners)
        assert _same(_parameters(field), before[0]) and _equal(_optimizers(field), before[1])
        assert all(a is b for a, b in zip(_state_tensors(field), before[2], strict=True))
        for learner in field.learners:
            assert all(p.grad is None or p.grad.dtype == p.dtype for p in learner.parameters)

    def test_parameters_keep_their_storage(self) -> None:
        field = duel_field(self.make, spectral=True)
        before = [p.data_ptr() for learner in field.learners for p in learner.parameters]
        run(field, 3)
        assert [p.data_ptr() for learner in field.learners for p in learner.parameters] == before

    def test_what_gets_no_gradient_stays_put(self) -> None:
        field = run(duel_field(self.make), 3)
        for player in field.evaluator.game.players.values():
            assert player.module.get_parameter("unreached").grad is None
            assert torch.equal(player.module.get_parameter("frozen"), torch.ones(2).double())
            assert torch.equal(player.module.get_parameter("unreached"), torch.ones(2).double())

    def test_a_move_tracks_one_pass(self) -> None:
        field = run(duel_field(self.make), 3)
        # Each player's pass runs both networks.
        for player in field.evaluator.game.players.values():
            assert player.module.get_buffer("1.num_batches_tracked") == 2 * (3 + self.first)

    def test_an_auxiliary_move_leaves_buffers_alone(self) -> None:
        field = run(duel_field(self.make, spectral=True), 2)
        before = [b.clone() for b in field.evaluator.buffers]
        field.move(field.draw(), auxiliary=True)
        assert _same(field.evaluator.buffers, before)

    def test_goes_on_bit_identically_from_its_state(self) -> None:
        straight = run(duel_field(self.make, spectral=True), 5)
        for split in range(1, 5):
            field, resumed = run(duel_field(self.make, spectral=True), split), duel_field(self.make, spectral=True)
            for new, old in zip(resumed.learners, field.learners, strict=True):
                new.player.module.load_state_dict(old.player.module.state_dict())
                new.optimizer.load_state_dict(copy.deepcopy(old.optimizer.state_dict()))
            resumed.evaluator.step = field.evaluator.step
            resumed.load_state_dict(copy.deepcopy(field.state_dict()))
            run(resumed, 5 - split)
            assert _same(
                _parameters(resumed) + resumed.evaluator.buffers, _parameters(straight) + straight.evaluator.buffers
            ), split

    def test_an_exception_leaves_things_as_they_were_and_the_move_can_be_made_again(self) -> None:
        straight, new = run(duel_field(self.make), 3), duel_field(self.make).state_dict()["oracles"]
        for passes in range(2 * self._gradients_of(2)):
            field = run(duel_field(self.make), 2)
            draw = field.draw()
            before = _parameters(field), copy.deepcopy(_optimizers(field)), copy.deepcopy(field.state_dict()["oracles"])
            duel = field.evaluator.game
            assert isinstance(duel, Duel)
            duel.passes_left = passes
            with contextlib.suppress(Broken, UserError):  # as which a user's own oracle raises it
                field.move(draw)
            assert duel.passes_left == 0, "the move made fewer passes than gradients says"
            assert _same(_parameters(field), before[0]) and _equal(_optimizers(field), before[1])
            oracles = field.state_dict()["oracles"]
            kept = _equal(oracles, before[2])
            # An oracle may give up its state to save memory, and then begins anew.
            assert all(_equal(own, before[2][name]) or _equal(own, new[name]) for name, own in oracles.items())
            assert all(p.grad is None for learner in field.learners for p in learner.parameters)
            duel.passes_left = None
            field.move(draw)
            assert not kept or _same(_parameters(field), _parameters(straight)), passes

    def test_holds_the_copies_it_says(self) -> None:
        if self.copies is not None:
            _, at_most = copies(oracle=self.make)
            assert abs(at_most - self.copies) < 0.01

    def test_micro_batches_that_are_alike_are_as_one(self) -> None:
        one, cut = run(duel_field(self.make, spectral=True), 3), run(duel_field(self.make, True, accumulation=3), 3)
        assert _same(_parameters(one) + one.evaluator.buffers, _parameters(cut) + cut.evaluator.buffers)
        assert one.evaluator.evaluations == cut.evaluator.evaluations

    def test_a_loss_scale_changes_nothing(self) -> None:
        one, scaled = duel_field(self.make, spectral=True), duel_field(self.make, True, scaled=True)
        assert _same(
            _parameters(run(one, 3)) + one.evaluator.buffers, _parameters(run(scaled, 3)) + scaled.evaluator.buffers
        )

    def test_leaves_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        run(duel_field(self.make, spectral=True), 2)
        assert torch.equal(torch.get_rng_state(), before)

    def test_observing_changes_nothing(self) -> None:
        field, observed = run(duel_field(self.make, spectral=True), 4), duel_field(self.make, spectral=True)
        for _ in range(4):
            observed.evaluator.observing = observed.evaluator.step % 2 == 1
            run(observed, 1)
        assert _same(_parameters(field) + field.evaluator.buffers, _parameters(observed) + observed.evaluator.buffers)
        assert field.evaluator.evaluations == observed.evaluator.evaluations
        for scalars in observed.evaluator.observed.values():
            assert {"loss", "gradient_norm"} <= scalars.keys()
            assert all(value.dim() == 0 and value.isfinite() for value in scalars.values())


def _parameters(field: Field) -> list[Tensor]:
    return [p.detach().clone() for player in field.evaluator.game.players.values() for p in player.module.parameters()]


def _optimizers(field: Field) -> list[Any]:
    return [learner.optimizer.state_dict()["state"] for learner in field.learners]


def _state_tensors(field: Field) -> list[Tensor]:
    states = [state for learner in field.learners for state in learner.optimizer.state.values()]
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _equal(left: Any, right: Any) -> bool:
    """Whether two trees of dicts, lists and tensors are equal to the last bit."""
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        same = isinstance(right, dict) and left.keys() == right.keys()
        return same and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return isinstance(right, (list, tuple)) and len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)
