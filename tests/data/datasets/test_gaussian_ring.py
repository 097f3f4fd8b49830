import math

import torch

from gantrain.data import GaussianRing


def test_centres_lie_on_the_circle_at_equal_angles():
    ring = GaussianRing(modes=4, radius=2.0)
    expected = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    assert torch.allclose(ring.modes, expected, atol=1e-6)


def test_each_mode_has_its_share_centre_and_spread():
    ring = GaussianRing(modes=8, radius=1.0, std=0.05, samples=8000)
    assert ring.samples.shape == (8000, 2) and ring.samples.dtype == torch.float32
    assert (ring.spec.shape, ring.spec.classes) == ((2,), 8)
    assert ring.labels.bincount().tolist() == [1000] * 8
    for k in range(8):
        points = ring.samples[ring.labels == k]
        assert torch.allclose(points.mean(0), ring.modes[k], atol=5 * 0.05 / math.sqrt(1000))
        assert torch.allclose(points.std(0), torch.tensor([0.05, 0.05]), rtol=0.15)


def test_the_points_are_a_function_of_the_arguments():
    assert torch.equal(GaussianRing().samples, GaussianRing().samples)
    assert not torch.equal(GaussianRing().samples, GaussianRing(seed=1).samples)


def test_covered_counts_points_near_each_centre():
    ring = GaussianRing(modes=4, radius=1.0, std=0.1)
    points = torch.tensor([[1.0, 0.0], [1.25, 0.0], [1.4, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert ring.covered(points).tolist() == [2, 0, 0, 1]


def test_points_are_not_decoded():
    ring = GaussianRing(samples=5)
    assert torch.equal(ring.decode(ring.samples), ring.samples)
