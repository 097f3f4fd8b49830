"""Truncation and interpolation against closed forms, and the point between two classes against tables mixed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.models import ConvGenerator, R3GANGenerator, SNGANGenerator, slerp, truncate
from gantrain.models.interpolation import BetweenClasses
from gantrain.models.truncation import Truncated


@pytest.mark.parametrize("t", [0.3, 0.7, 1.5, 12.0])
def test_a_truncated_normal_has_its_variance(t):
    source = torch.Generator().manual_seed(0)
    z = torch.randn(4000, 100, generator=source)
    found = truncate(z, t, source)
    density, mass = math.exp(-t * t / 2) / math.sqrt(2 * math.pi), math.erf(t / math.sqrt(2))
    assert found.var().item() == pytest.approx(1 - 2 * t * density / mass, rel=1e-2)
    assert found.abs().max() <= t and abs(found.mean().item()) < 5e-3
    inside = z.abs() <= t
    assert torch.equal(found[inside], z[inside])


def test_truncation_at_nothing_leaves_nothing():
    source = torch.Generator().manual_seed(0)
    assert truncate(torch.randn(3, 4), 0.0, source).abs().max() == 0


def test_the_arc_between_vectors():
    torch.manual_seed(0)
    first, last = torch.randn(2, 5, 16).double()
    t = torch.linspace(0, 1, 7).double()[:, None, None]
    angle = torch.acos(torch.cosine_similarity(first, last))[:, None]
    expected = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last) / torch.sin(angle)
    torch.testing.assert_close(slerp(first, last, t), expected)
    units = slerp(nn.functional.normalize(first), nn.functional.normalize(last), t)
    torch.testing.assert_close(units.norm(dim=-1), torch.ones(7, 5).double())
    assert slerp(first.float(), last.float(), 0.5).dtype == torch.float32


CASES = {
    "any": lambda z: torch.randn_like(z),
    "parallel": lambda z: 2 * z,
    "same": lambda z: z.clone(),
    "opposite": lambda z: -z,
    "zero": torch.zeros_like,
}


@pytest.mark.parametrize("d", [1, 8])
@pytest.mark.parametrize("case", CASES)
def test_ends_are_exact_and_the_way_is_finite(case, d):
    torch.manual_seed(1)
    z = torch.randn(20, d)
    for first, last in ((z, CASES[case](z)), (CASES[case](z), z)):
        path = slerp(first, last, torch.linspace(0, 1, 5)[:, None, None])
        assert torch.equal(path[0], first) and torch.equal(path[-1], last) and path.isfinite().all()
    middle = slerp(z, CASES[case](z), 0.5)
    if case == "opposite" and d > 1:
        torch.testing.assert_close(middle.norm(dim=1), z.norm(dim=1))
        assert (middle * z).sum(1).abs().max() < 1e-5
    elif case != "any":
        torch.testing.assert_close(middle, (z + CASES[case](z)) / 2)


class Own(nn.Module):
    """A generator of a user's own, which looks up by labels in one of several ways."""

    def __init__(self, way: str):
        super().__init__()
        self.way = way
        self.table = nn.Parameter(torch.randn(4, 5))

    def forward(self, z, labels=None):
        rows = {
            "index": lambda: self.table[labels.long()],
            "indices": lambda: self.table[labels, :],
            "select": lambda: self.table.index_select(0, labels),
            "one_hot": lambda: one_hot(labels, 4).float() @ self.table,
            "embedding": lambda: nn.functional.embedding(labels, self.table),
            "nothing": lambda: labels[:, None] + z,
        }[self.way]()
        return z * rows[: len(z)]


def between(network, tables, z, t, first, last):
    """The samples when the row of class 0 holds the mixture of two classes."""
    with torch.no_grad():
        for table in tables:
            table[0] = torch.lerp(table[first], table[last], t)
        return network(z, torch.zeros(len(z), dtype=torch.int64))


@pytest.mark.parametrize("way", ["index", "indices", "select", "one_hot", "embedding", *["conv", "sngan", "r3gan"]])
def test_between_two_classes_lies_what_their_rows_mixed_give(way):
    torch.manual_seed(2)
    spec = DataSpec((1, 32, 32), 4)
    made = {
        "conv": lambda: ConvGenerator(spec, 2, 5),
        "sngan": lambda: SNGANGenerator(spec, 2, 5, spectral_norm=True),
        "r3gan": lambda: R3GANGenerator(spec, 16, 1, latent_dim=5),
    }
    network = made[way]().eval() if way in made else Own(way)
    tables = [p for name, p in network.named_parameters() if p.ndim == 2 and len(p) == 4]
    for table in tables:
        nn.init.normal_(table)
    z, classes = torch.randn(3, 5), torch.tensor([[1, 3]] * 3)
    with torch.no_grad():
        found = BetweenClasses(network, 0.25)(z, classes)
        ends = network(z, classes[:, 0]), network(z, classes[:, 1])
    torch.testing.assert_close(found, between(network, tables, z, 0.25, 1, 3), rtol=1e-4, atol=1e-5)
    assert all(not torch.allclose(found, end) for end in ends)


def test_a_network_without_embeddings_has_nothing_between_classes():
    z, classes = torch.randn(3, 5), torch.tensor([[1, 3], [2, 2], [0, 1]])
    with pytest.raises(UserError, match="^interpolate: Own looks up no embedding of the class") as error:
        BetweenClasses(Truncated(Own("nothing"), 1.0).network, 0.5)(z, classes)
    assert "\n" not in str(error.value)
    own = Own("index")
    same = torch.tensor([[1, 1]] * 3)
    assert torch.equal(BetweenClasses(own, 0.5)(z, same), own(z, same[:, 0]))
