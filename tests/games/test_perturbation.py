"""Balls and projected ascent against closed forms."""

from __future__ import annotations

import pytest
import torch

from gantrain.data.batch import Batch, FixedBatch
from gantrain.games.perturbation import L2, LInf, ProjectedAscent

POINTS = torch.linspace(-3, 3, 40, dtype=torch.float64).view(8, 5)
WEIGHT = torch.tensor([3.0, -1.0, 0.5, -2.0, 0.0], dtype=torch.float64)


def batch(samples=POINTS, index=0, seed=0):
    return Batch(samples, None, index, 0, seed)


@pytest.mark.parametrize(("ball", "order"), [(LInf(0.3), torch.inf), (L2(0.3), 2)])
def test_one_step_from_the_centre_is_the_best_offset_of_a_linear_function(ball, order):
    climb = ProjectedAscent(ball, steps=1, step_size=0.3, random=False)
    offsets = climb(lambda x: (x @ WEIGHT).sum(), POINTS, batch()) - POINTS
    best = 0.3 * (WEIGHT.sign() if order == torch.inf else WEIGHT / WEIGHT.norm())
    torch.testing.assert_close(offsets, best.expand_as(POINTS))
    # By Hoelder's inequality no offset of that norm is better: the dual norm of the weights times the radius.
    dual = WEIGHT.abs().sum() if order == torch.inf else WEIGHT.norm()
    torch.testing.assert_close(offsets @ WEIGHT, (0.3 * dual).expand(8))


@pytest.mark.parametrize("ball", [LInf(0.3), L2(0.3)])
def test_more_steps_from_a_random_start_reach_the_same_offset(ball):
    climb = ProjectedAscent(ball, steps=40, step_size=0.1, random=True)
    once = ProjectedAscent(ball, steps=1, step_size=0.3, random=False)

    def function(x):
        return (x @ WEIGHT).sum()

    found, best = climb(function, POINTS, batch()), once(function, POINTS, batch())
    moved = WEIGHT != 0
    torch.testing.assert_close(found[:, moved], best[:, moved], atol=2e-3, rtol=0)


@pytest.mark.parametrize(("ball", "order"), [(LInf(0.7), torch.inf), (L2(0.7), 2)])
def test_projection_is_the_nearest_point_and_everything_lies_in_the_ball(ball, order):
    projected = ball.project(POINTS)
    assert torch.linalg.vector_norm(projected, order, dim=1).max() <= 0.7 + 1e-12
    inside = torch.linalg.vector_norm(POINTS, order, dim=1) <= 0.7
    assert torch.equal(projected[inside], POINTS[inside])
    # x - P(x) is in the normal cone at P(x): it has no acute angle with the way to any other point of the ball.
    others = ball.draw(POINTS, batch())
    assert ((POINTS - projected) * (others - projected)).sum(1).max() <= 1e-12
    for offsets in (others, ball.squash(POINTS)):
        assert torch.linalg.vector_norm(offsets, order, dim=1).max() <= 0.7
    assert torch.equal(ball.steepest(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("ball", [LInf(0.5), L2(0.5)])
def test_squashing_is_the_radius_times_small_values_and_can_be_differentiated_at_zero(ball):
    values = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(ball.squash, values)
    torch.testing.assert_close(jacobian.reshape(6, 6), 0.5 * torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(ball.squash(1e-6 * POINTS), 0.5e-6 * POINTS)


def test_the_volume_of_the_ball_is_filled_evenly():
    many = torch.zeros(4000, 3)
    radii = L2(1.0).draw(many, batch(many)).norm(dim=1)
    torch.testing.assert_close((radii**3).sort().values, torch.linspace(0, 1, 4000), atol=0.04, rtol=0)
    cube = LInf(1.0).draw(many, batch(many))
    assert cube.abs().max() <= 1 and cube.mean().abs() < 0.05 and abs(cube.var().item() - 1 / 3) < 0.02


@pytest.mark.parametrize("ball", [LInf(0.5), L2(0.5)])
def test_images_stay_in_their_range_and_others_do_not_have_one(ball):
    images = torch.tensor([-1.0, -0.9, 0.0, 1.0]).view(1, 1, 2, 2)
    climb = ProjectedAscent(ball, steps=5, step_size=0.4, random=True)
    for sign in (1, -1):
        moved = climb(lambda x, sign=sign: sign * x.sum(), images, batch(images))
        assert moved.abs().max() <= 1 and not torch.equal(moved, images)
        assert ball.project(moved - images).sub(moved - images).abs().max() < 1e-6
    # An augmentation may have left the range already; the ascent neither brings the value back nor takes it further.
    outside = torch.full((1, 1, 1, 1), 1.4)
    assert torch.equal(ball.move(outside, torch.full((1, 1, 1, 1), 0.3)), outside)
    assert ball.move(torch.ones(1, 1), torch.full((1, 1), 0.3)).item() == pytest.approx(1.3)


def test_the_random_start_is_a_function_of_seed_and_draw_and_shared_by_processes():
    ball = LInf(1.0)
    whole = ball.draw(POINTS, batch())
    assert torch.equal(whole, ball.draw(POINTS, batch())) and not torch.equal(whole, ball.draw(POINTS, batch(index=1)))
    halves = [Batch(POINTS[4 * r : 4 * r + 4], None, 0, 0, 0, r, 2) for r in (0, 1)]
    assert torch.equal(torch.cat([ball.draw(half.real, half) for half in halves]), whole)


def test_in_a_fixed_batch_every_sample_has_its_own_numbers_however_it_is_cut():
    whole = FixedBatch(POINTS, None, 0, seed=1)
    parts = [FixedBatch(POINTS[a:b], None, a, seed=1) for a, b in ((0, 3), (3, 4), (4, 8))]
    for draw in (lambda b: b.uniform("u", 2), lambda b: b.normal("n"), lambda b: b.under("x").integers("i", 9)):
        assert torch.equal(torch.cat([draw(part) for part in parts]), draw(whole))
    assert len({tuple(row) for row in whole.uniform("u", 2).tolist()}) == 8
