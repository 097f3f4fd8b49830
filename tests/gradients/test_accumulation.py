"""Micro-batches against gradients written out by hand, in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.gradients.accumulation import GradientAccumulation
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Oracle, Plain, SAMPa

RHO, LR, STEPS, SIZE = 0.3, 0.5, 3, 8


def data(draw):
    source = torch.Generator().manual_seed(draw)
    return torch.randn(SIZE, 4, generator=source, dtype=torch.float64), torch.randint(3, (SIZE,), generator=source)


def start():
    return torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


def objective(x, batch):
    logits = batch[0] @ x
    return gt.Objective(cross_entropy(logits, batch[1]), logits, batch[1])


def field(oracle, parts, f=objective, x=None, **settings):
    """A field whose batches are shares of the whole."""

    def batch(draw, step):
        part, of = one.evaluator.share
        return tuple(torch.chunk(t, of)[part] for t in data(draw))

    game = gt.games.Minimize(f, x=start() if x is None else x)
    (player,) = game.players.values()
    learner = Learner(player, torch.optim.SGD(player.parameters, lr=LR), oracle)
    one = Field(Evaluator(game, batch, accumulation=parts, **settings), [learner])
    return one


def moved(one, steps=STEPS):
    for _ in range(steps):
        one.move(one.draw())
        one.evaluator.step += 1
    return one.learners[0].parameters[0].detach()


def slope(x, draw, part=0, parts=1):
    """The gradient of the cross-entropy of a linear classifier: ``X^T (softmax(X w) - onehot(y)) / n``."""
    inputs, targets = (torch.chunk(t, parts)[part] for t in data(draw))
    return inputs.T @ (torch.softmax(inputs @ x, 1) - nn.functional.one_hot(targets, 3)) / len(inputs)


def up(x, g):
    return x + RHO * g / g.norm()


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_the_gradient_is_that_of_the_whole_batch(parts):
    plain = glob = sampa = start()
    there = slope(sampa, 0)
    for t in range(STEPS):
        plain = plain - LR * slope(plain, t)
        glob = glob - LR * slope(up(glob, slope(glob, t)), t)
        perturbed, there = slope(up(sampa, there), t), slope(sampa - LR * there, t + 1)
        sampa = sampa - LR * (0.8 * perturbed + 0.2 * there)
    for oracle, expected in (
        (Plain(), plain),
        (SAM(RHO, ascent="global"), glob),
        (SAMPa(RHO, mix=0.2), sampa),
    ):
        torch.testing.assert_close(moved(field(oracle, parts)), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_local_ascent_is_that_of_each_micro_batch(parts):
    def slopes(points, draw):
        return [slope(x, draw, i, parts) for i, x in enumerate(points)]

    sam = sampa = start()
    there = slopes([sampa] * parts, 0)
    for t in range(STEPS):
        sam = sam - LR * mean(slopes([up(sam, g) for g in slopes([sam] * parts, t)], t))
        perturbed = mean(slopes([up(sampa, g) for g in there], t))
        there = slopes([sampa - LR * mean(there)] * parts, t + 1)
        sampa = sampa - LR * (0.8 * perturbed + 0.2 * mean(there))
    torch.testing.assert_close(moved(field(SAM(RHO), parts)), sam, rtol=0, atol=1e-13)
    torch.testing.assert_close(moved(field(SAMPa(RHO, ascent="local"), parts)), sampa, rtol=0, atol=1e-13)


def test_every_micro_batch_predicts_along_the_same_gradient():
    """Also where the optimizer writes into the gradient that it follows."""
    found = []
    for foreach in (False, True):
        one = field(SAMPa(RHO), 4)
        (learner,) = one.learners
        learner.optimizer = torch.optim.SGD(learner.parameters, LR, 0.9, nesterov=True, foreach=foreach)
        found.append(moved(one))
    torch.testing.assert_close(*found, rtol=0, atol=1e-14)


class Several(Oracle):
    """Descends the sum of two targets of one pass."""

    def evaluate(self, context, part):
        return context.gradients(lambda o: o.loss, lambda o: o.logits.square().mean())

    def combine(self, gradients):
        return [a + b for a, b in zip(*gradients, strict=True)]


@pytest.mark.parametrize("parts", [2, 4])
def test_several_targets_of_one_pass(parts):
    torch.testing.assert_close(moved(field(Several(), parts)), moved(field(Several(), 1)), rtol=0, atol=1e-13)


def test_none_is_zero_where_another_micro_batch_reaches_a_parameter():
    calls = iter([[[None, None]], [[torch.ones(2), None]], [[None, None]]])
    ((reached, unreached),) = GradientAccumulation(3, []).mean(lambda: next(calls))
    assert unreached is None
    torch.testing.assert_close(reached, torch.full((2,), 1 / 3))


def network():
    torch.manual_seed(0)
    return spectrally_normalised(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))).double()


def classified(module, batch):
    logits = module(batch[0])
    scores = {"top": logits.detach().amax(1)}
    return gt.Objective(cross_entropy(logits, batch[1]), logits, batch[1], scores=scores)


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("oracle", [Plain, SAM, lambda: SAM(ascent="global")])
def test_every_part_begins_with_the_buffers_as_they_were(oracle, parts):
    before = network()
    one = field(oracle(), parts, classified, network())
    twins = [copy.deepcopy(before) for _ in range(parts)]
    for part, twin in enumerate(twins):
        twin(torch.chunk(data(0)[0], parts)[part])
    one.evaluator.observing = True
    one.move(0)
    for buffer, *of in zip(one.evaluator.buffers, *(twin.buffers() for twin in twins), strict=True):
        if buffer.is_floating_point():
            torch.testing.assert_close(buffer, mean(of), rtol=0, atol=1e-15)
        else:
            assert buffer == of[0] == 1
    # The power iteration has been made once, and all parts agree on it.
    assert torch.equal(one.evaluator.buffers[0], list(twins[0].buffers())[0])
    assert one.evaluator.evaluations == {"x": 2 if isinstance(one.learners[0].oracle, SAM) else 1}
    inputs = torch.chunk(data(0)[0], parts)
    outputs = [copy.deepcopy(before)(x) for x in inputs]
    losses = [cross_entropy(o, t) for o, t in zip(outputs, torch.chunk(data(0)[1], parts), strict=True)]
    torch.testing.assert_close(one.evaluator.observed["x"]["loss"], mean(losses).detach(), rtol=0, atol=1e-14)
    tops = mean([o.detach().amax(1).mean() for o in outputs])
    torch.testing.assert_close(one.evaluator.observed["x"]["score/top"], tops, rtol=0, atol=1e-14)


def test_auxiliary_evaluations_leave_buffers_to_the_last_bit():
    one = field(SAM(), 3, classified, network())
    one.move(0)
    before = [b.clone() for b in one.evaluator.buffers]
    one.move(1, auxiliary=True)
    assert all(map(torch.equal, before, one.evaluator.buffers))


def test_networks_draw_for_themselves_by_the_share():
    seen = []
    one = field(Plain(), 3, reseed=lambda draw: seen.append((draw, one.evaluator.share)))
    one.move(5)
    assert seen == [(5, (0, 3)), (5, (1, 3)), (5, (2, 3))] and one.evaluator.share == (0, 1)


def test_without_micro_batches_nothing_is_copied():
    gradients = [[torch.ones(2)]]
    assert GradientAccumulation(1, [torch.ones(1)]).mean(lambda: gradients) is gradients


def test_after_an_exception_the_share_is_whole():
    one = field(Plain(), 2, lambda x, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.move(0)
    assert one.evaluator.share == (0, 1)
