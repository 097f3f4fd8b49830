"""Which pass moves buffers, on which batch, and what is left of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.compute.modes import Replay
from gantrain.config.registry import kind
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.optim.optimizers import make_optimizer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Plain, SAMPa


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
        return spectrally_normalised(module)


def batch(draw, step=0):
    source = torch.Generator().manual_seed(draw)
    return torch.randn(8, 4, generator=source, dtype=torch.float64), torch.randint(3, (8,), generator=source)


def loss(module, data):
    logits = module(data[0])
    return gt.Objective(cross_entropy(logits, data[1]), logits, data[1], scores={"logit": logits.detach()})


def field(oracle, optimizer=None, f=loss, **settings):
    game = gt.games.Minimize(f, x=network())
    player = game.players["x"]
    optimizer = make_optimizer(optimizer or {"name": "sgd", "lr": 0.1, "momentum": 0.9}, player.module)
    return Field(Evaluator(game, batch, **settings), [Learner(player, optimizer, oracle)])


def buffers(module):
    return [b.clone() for b in module.buffers()]


@pytest.mark.parametrize("climb", ["loss", "tanh"])
def test_sams_buffers_follow_the_pass_at_the_current_point(climb):
    one, plain = field(SAM(rho=0.5, climb=climb)), field(Plain())
    one.move(0)
    plain.move(0)
    assert all(
        map(
            torch.equal,
            buffers(one.evaluator.game.players["x"].module),
            buffers(plain.evaluator.game.players["x"].module),
        )
    )


def test_sampas_buffers_follow_the_passes_at_the_predicted_points():
    one = field(SAMPa(rho=0.5, mix=0.2))
    twin = copy.deepcopy(one.evaluator.game.players["x"].module)
    twin(batch(0)[0])
    # y_1 is one step of plain SGD; both start from the same point.
    plain = field(Plain())
    plain.move(0)
    with torch.no_grad():
        for p, q in zip(twin.parameters(), plain.evaluator.game.players["x"].module.parameters(), strict=True):
            p.copy_(q)
    twin(batch(1)[0])
    one.move(0)
    assert all(map(torch.equal, buffers(one.evaluator.game.players["x"].module), buffers(twin)))


def test_sampa_takes_the_perturbed_gradient_on_this_batch_and_the_other_on_the_next():
    seen = []

    def f(module, data):
        seen.append(next(draw for draw in range(9) if torch.equal(batch(draw)[0], data[0])))
        return loss(module, data)

    one = field(SAMPa(), f=f)
    for draw in range(3):
        one.move(draw)
    assert seen == [0, 0, 1, 1, 2, 2, 3]


class Running(nn.Module):
    """A layer with a running mean, which it replaces by another tensor or writes into."""

    def __init__(self, replaces):
        super().__init__()
        self.replaces = replaces
        self.register_buffer("mean", torch.zeros(4).double())
        self.register_buffer("passes", torch.tensor(0))

    def forward(self, x):
        mean, passes = 0.9 * self.mean + 0.1 * x.mean(0), self.passes + 1
        if self.replaces:
            self.mean, self.passes = mean, passes
        else:
            self.mean.copy_(mean)
            self.passes.copy_(passes)
        return x - mean


@pytest.mark.parametrize("oracle", [Plain, SAM, SAMPa])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_buffer_may_be_replaced_by_its_network(oracle, parts):
    found = []
    for replaces in (False, True):
        layer = Running(replaces)
        game = gt.games.Minimize(loss, x=nn.Sequential(layer, *network()))
        (player,) = game.players.values()
        learner = Learner(player, torch.optim.SGD(player.parameters, lr=0.1), oracle())
        one = Field(Evaluator(game, batch, accumulation=parts), [learner])
        one.evaluator.rehearse()
        assert layer.passes == 0
        for draw in range(3):
            one.move(draw)
            one.evaluator.value(player, draw, lambda objective: objective.loss)
        assert list(map(id, player.module.buffers())) == list(map(id, player.buffers))
        found.append(buffers(player.module))
    assert all(map(torch.equal, *found)) and found[0][1] == 3 + (oracle is SAMPa)


def test_a_replayed_pass_leaves_the_statistics_of_batch_norm_as_they_were():
    norm = nn.BatchNorm1d(3)
    replay = Replay(norm, torch.device("cpu"))
    norm(torch.randn(5, 3))
    before = buffers(norm)
    replay.of(norm)(torch.randn(5, 3)).sum().backward()
    assert all(map(torch.equal, buffers(norm), before))


@pytest.mark.parametrize("replaces", [False, True])
def test_a_pass_is_replayed_from_the_buffers_with_which_it_began(replaces):
    layer = Running(replaces)
    replay, (x, _) = Replay(layer, torch.device("cpu")), batch(0)
    first, mean = layer(x), layer.mean.clone()
    again = replay.of(layer)
    assert torch.equal(again(x), first) and torch.equal(again(x), first)
    assert torch.equal(layer.mean, mean) and layer.passes == 1


def test_every_optimizer_steps_to_the_predicted_point_and_keeps_its_state():
    tried = []
    for name in kind("optimizer").parts.keys() - {"mirror"}:  # which moves mixed strategies
        points = []

        def f(module, data, points=points):
            points.append([p.detach().clone() for p in module.parameters()])
            return loss(module, data)

        one = field(SAMPa(mix=1.0), {"name": name, "lr": 1e-2}, f)
        (learner,) = one.learners
        one.move(0)
        one.move(1)
        points.clear()
        slope = [g.clone() for g in learner.oracle.slope]
        before = copy.deepcopy(learner.optimizer.state_dict())
        tensors = [v for state in learner.optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
        one.evaluate(2, one.learners)
        after = learner.optimizer.state_dict()
        assert str(before) == str(after), name
        kept = [v for state in learner.optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
        assert all(a is b for a, b in zip(tensors, kept, strict=True)), name
        # Let it really go there.
        for p, g in zip(learner.parameters, slope, strict=True):
            p.grad = g
        learner.optimizer.step()
        assert all(map(torch.equal, points[1], learner.parameters)), name
        tried.append(name)
    assert {"sgd", "adam", "adamw", "rmsprop", "rprop", "asgd", "nadam", "adafactor"} <= set(tried)


class Counting(torch.optim.SGD):
    """SGD with the step size lr / k in the k-th step, which it counts in its groups."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
            group["lr"] = 0.5 / group["k"]
        return super().step(closure)


def test_a_prediction_does_not_count_as_a_step():
    one = field(SAMPa(mix=0.2))
    (learner,) = one.learners
    learner.optimizer = Counting(learner.parameters, lr=0.5)
    counted = []
    for draw in range(3):
        one.move(draw)
        counted.append(learner.optimizer.param_groups[0]["k"])
    assert counted == [1, 2, 3] and learner.step_size == 0.5 / 3


def test_every_pass_on_a_batch_is_of_one_function():
    # With dropout the objective is random; its randomness belongs to the batch.
    masks = {}

    def f(module, data):
        draw = next(draw for draw in range(9) if torch.equal(batch(draw)[0], data[0]))
        mask = torch.nn.functional.dropout(torch.ones(32), 0.5)
        assert torch.equal(masks.setdefault(draw, mask), mask)
        return loss(module, data)

    for oracle in (SAM(), SAMPa(cosine=True)):
        one = field(oracle, f=f, reseed=torch.manual_seed)
        one.evaluator.observing = True
        with torch.random.fork_rng(devices=[]):
            for draw in range(3):
                one.move(draw)
    assert len(masks) == 4 and not torch.equal(masks[0], masks[1])


def test_sampas_cosine_and_distance_are_those_of_the_gradients_at_x_and_y():
    one = field(SAMPa(rho=0.3, cosine=True))
    one.move(0)
    module = one.evaluator.game.players["x"].module
    slope = torch.cat([g.reshape(-1) for g in one.learners[0].oracle.slope])
    twin = copy.deepcopy(module)
    plain = torch.autograd.grad(loss(twin, batch(1)).loss, list(twin.parameters()))
    plain = torch.cat([g.reshape(-1) for g in plain])
    one.evaluator.observing = True
    one.move(1)
    observed = one.evaluator.observed["x"]
    expected = torch.dot(plain, slope) / plain.norm() / slope.norm()
    assert 0.5 < expected < 1 - 1e-6
    torch.testing.assert_close(observed["cosine"], expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(observed["gradient_distance"], (plain - slope).norm() / plain.norm(), rtol=0, atol=1e-14)
    assert set(observed) == {"loss", "score/logit", "gradient_norm", "cosine", "gradient_distance"}


def test_nothing_is_observed_of_a_cosine_nobody_asked_for():
    one = field(SAMPa())
    one.evaluator.observing = True
    one.move(0)
    assert not {"cosine", "gradient_distance"} & one.evaluator.observed["x"].keys()
