"""Entropic mirror descent against its closed form."""

from __future__ import annotations

import pytest
import torch

from gantrain.optim import Mirror


def test_a_step_is_the_closed_form_in_each_row():
    start = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    gradient = torch.tensor([[1.0, -2.0, 0.5], [100.0, 0.0, -100.0]])
    p = torch.nn.Parameter(start.clone())
    optimizer = Mirror([p], lr=0.7)
    p.grad = gradient
    optimizer.step()
    weighted = start.double() * (-0.7 * gradient.double()).exp()
    torch.testing.assert_close(p.detach().double(), weighted / weighted.sum(1, keepdim=True), atol=1e-6, rtol=1e-5)


def test_a_step_is_the_proximal_step_in_the_divergence_of_the_entropy():
    """``x+ = argmin <g, x> + KL(x, x0) / lr``: at the minimum the gradient is constant over the simplex."""
    start, gradient = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, -2.0, 0.5])
    p = torch.nn.Parameter(start.clone())
    p.grad = gradient
    Mirror([p], lr=0.7).step()
    slope = gradient + (p.detach() / start).log() / 0.7
    torch.testing.assert_close(slope, slope.mean().expand(3))


def test_nothing_is_lost_for_ever_and_nothing_overflows():
    p = torch.nn.Parameter(torch.tensor([1.0, 0.0]))
    optimizer = Mirror([p], lr=1.0)
    for gradient in ([-1e6, 1e6], [50.0, -50.0], [50.0, -50.0]):
        p.grad = torch.tensor(gradient)
        optimizer.step()
        assert p.isfinite().all() and (p > 0).all() and abs(p.sum().item() - 1) < 1e-6
    assert p[1] > 0.999


@pytest.mark.parametrize("values", [[0.5, 0.6], [1.5, -0.5], [[0.5, 0.5], [1.0, 1.0]]])
def test_other_parameters_are_refused(values):
    with pytest.raises(ValueError, match="mirror moves mixed strategies"):
        Mirror([torch.nn.Parameter(torch.tensor(values))])
