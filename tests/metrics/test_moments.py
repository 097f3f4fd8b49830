from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrain.metrics.accumulators.moments import Moments, MomentsByPart
from gantrain.metrics.frechet_distance import extrapolated_distance, frechet_distance


def features(n=211, d=5, offset=1e4):
    return offset + torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(
        1, 6
    )


def filled(x):
    moments = Moments(x.shape[1])
    moments.add_features(x)
    return moments


def assert_moments_of(moments, x):
    assert moments.count == len(x)
    np.testing.assert_allclose(moments.mean, x.numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-9, atol=1e-9)


def test_batches_of_any_size_give_numpys_mean_and_covariance_far_from_zero():
    x, moments = features(), Moments(5)
    for batch in x.split([1, 64, 0, 100, 46]):
        moments.add_features(batch)
    assert_moments_of(moments, x)


def test_parts_are_moments_of_their_samples_and_together_those_of_all():
    x = features()
    part = torch.arange(len(x)) % 3
    moments = MomentsByPart(part, 3, 5)
    for rows in torch.arange(len(x)).flip(0).split(50):
        moments.update(rows, x[rows], x[rows])
    assert_moments_of(moments.whole, x)
    for i in range(3):
        assert_moments_of(moments.parts[i], x[part == i])


def test_memory_does_not_grow_with_the_samples():
    moments = MomentsByPart(torch.empty(0), 1, 5)
    for rows in torch.arange(2000).split(100):
        moments.update(rows, torch.randn(100, 5), torch.empty(0))
    kept = vars(moments.whole).values()
    assert sorted(t.numel() for t in kept) == [1, 5, 25] and moments.whole.count == 2000


def of(mean, covariance):
    return Moments.of(
        torch.tensor(101.0).double(), torch.tensor(mean).double(), 100 * torch.as_tensor(covariance).double()
    )


def test_the_distance_of_gaussians_in_closed_form():
    a, b = of([1.0, 2.0], torch.diag(torch.tensor([4.0, 9.0]))), of([4.0, 6.0], torch.diag(torch.tensor([1.0, 25.0])))
    assert frechet_distance(a, b) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 5) ** 2, rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_covariances_that_do_not_commute():
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    c, s = (m.T @ m for m in x)
    # tr (C S)^½ is the nuclear norm of C^½ S^½, and the factors' product has the same singular values.
    cross = torch.linalg.matrix_norm(torch.linalg.cholesky(c).T @ torch.linalg.cholesky(s), "nuc")
    exact = torch.trace(c) + torch.trace(s) - 2 * cross
    assert frechet_distance(of([0.0] * 4, c), of([0.0] * 4, s)) == pytest.approx(exact.item(), rel=1e-9)


def test_the_extrapolation_is_exact_for_a_line_in_one_over_n():
    # The real side has no variance, so that the distance is |μ|² + tr Σ, which is 4 + 3 / n here.
    real = Moments.of(torch.tensor(10.0).double(), torch.zeros(1).double(), torch.zeros(1, 1).double())
    n = 40

    class Part:
        def __init__(self, count):
            self.count = torch.tensor(float(count), dtype=torch.float64)
            self.mean = torch.tensor([2.0], dtype=torch.float64)
            self.covariance = 3 / self.count.view(1, 1)

        def joined(self, other):
            return Part(self.count + other.count)

    assert extrapolated_distance([Part(n)] * 4, real) == pytest.approx(4.0, rel=1e-12)
