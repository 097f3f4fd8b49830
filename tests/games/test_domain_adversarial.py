"""Domain-adversarial training: gradients against a gradient reversal layer, and the target's batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gantrain.data.batch import Batch, Batches
from gantrain.data.datasets.digits import Digits
from gantrain.data.datasets.gaussian_ring import GaussianRing
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.domain_adversarial import DomainAdversarial
from gantrain.models import ConvClassifier, MLPClassifier, MLPDiscriminator

SOURCE, TARGET = Digits(split="train"), Digits(split="train", shift=1)


class Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight: the layer of the paper."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.weight * gradient, None


def networks(width=8):
    torch.manual_seed(0)
    return MLPClassifier(SOURCE.spec, width=width), MLPDiscriminator(DataSpec((width,)), width=6)


def batch(n=12, index=0, step=0):
    return Batches(SOURCE, n, seed=0)(index, step)


def test_gradients_are_those_of_the_reversal_layer():
    classifier, domain = networks()
    features, head = classifier.layers[:-1], classifier.layers[-1]
    weights = [*features.parameters(), *head.parameters()]
    game, data = DomainAdversarial(classifier, domain, TARGET, weight=0.7, spec=SOURCE.spec), batch()
    target = TARGET.decode(TARGET.samples[data.rows("target", len(TARGET.samples))])
    f = features(torch.cat([data.real, target]))
    is_source = torch.tensor([1.0] * 12 + [0.0] * 12)
    # The paper's mean over source plus mean over target; binary_cross_entropy divides by both together.
    domain_loss = 2 * binary_cross_entropy_with_logits(domain(Reversal.apply(f, 0.7)), is_source)
    label_loss = cross_entropy(head(f[:12]), data.labels)
    expected = torch.autograd.grad(label_loss + domain_loss, [*weights, *domain.parameters()])
    found = {name: game.objective(name, data) for name in game.players}
    got = [
        *torch.autograd.grad(found["classifier"].loss, game.players["classifier"].parameters, retain_graph=True),
        *torch.autograd.grad(found["domain_classifier"].loss, game.players["domain_classifier"].parameters),
    ]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(found["domain_classifier"].targets.float(), is_source)
    assert torch.equal(found["classifier"].targets, data.labels)
    assert found["classifier"].loss.item() == pytest.approx((label_loss - 0.7 * domain_loss).item(), rel=1e-5)
    opponents = torch.autograd.grad(
        found["classifier"].loss, game.players["domain_classifier"].parameters, allow_unused=True
    )
    assert all(g is None for g in opponents)


def test_the_classifier_is_cut_in_front_of_its_last_layer_and_computes_what_it_did():
    torch.manual_seed(0)
    classifier = ConvClassifier(SOURCE.spec, width=4).eval()
    images = SOURCE.decode(SOURCE.samples[:5])
    before = classifier(images)
    spec = DomainAdversarial.spec_for_network("domain_classifier", SOURCE.spec, {}, {"classifier": classifier})
    assert spec == DataSpec((16 * 8,))
    assert DomainAdversarial.spec_for_network("classifier", SOURCE.spec, {}, {}) == SOURCE.spec
    game = DomainAdversarial(classifier, MLPDiscriminator(spec, width=4), TARGET)
    assert game.evaluated_player == "classifier" and list(game.players) == ["domain_classifier", "classifier"]
    assert torch.equal(game.evaluated_network(images), before)


def test_the_weight_rises_as_in_the_paper():
    game = DomainAdversarial(*networks(), TARGET, weight=2.0, ramp=100)
    for step, p in ((0, 0.0), (50, 0.5), (99, 0.99)):
        assert game._weight(batch(step=step)) == pytest.approx(2 * (2 / (1 + math.exp(-10 * p)) - 1))
    assert game._weight(batch(step=100)) == game._weight(batch(step=None)) == 2.0


def test_target_rows_are_epochs_of_a_permutation_shared_by_processes():
    def rows(index, rank=0, world=1, seed=0):
        return Batch(torch.zeros(8 // world, 1), None, index, 0, seed, rank, world).rows("target", 20)

    drawn = torch.cat([rows(i) for i in range(5)]).tolist()
    assert sorted(drawn[:20]) == sorted(drawn[20:]) == list(range(20)) and drawn[:20] != drawn[20:]
    assert torch.equal(torch.cat([rows(3, r, 4) for r in range(4)]), rows(3))
    assert not torch.equal(rows(0), rows(0, seed=1))
    # A target that is smaller than a batch comes up several times in it.
    assert sorted(Batch(torch.zeros(6, 1), None, 0, 0, 0).rows("target", 3).tolist()) == [0, 0, 1, 1, 2, 2]


class Tail(MLPClassifier):
    def forward(self, x):
        return super().forward(x).tanh()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda c, d: DomainAdversarial(c, d, GaussianRing(samples=50), spec=SOURCE.spec),
            r"^game.target_data: samples of shape \(2,\), and the training data have \(1, 8, 8\)",
        ),
        (
            lambda c, d: DomainAdversarial(c, d, TARGET, spec=SOURCE.spec.unconditional()),
            "^game: domain_adversarial needs labels, and these data have none",
        ),
        (
            lambda c, d: DomainAdversarial(Tail(SOURCE.spec), d, TARGET, spec=SOURCE.spec),
            "^game.classifier.model: Tail does not end in a linear layer",
        ),
        (
            lambda c, d: DomainAdversarial(c, nn.Linear(8, 2), TARGET, spec=SOURCE.spec),
            r"^game.domain_classifier.model: Linear: expected one logit per sample, shape \(2,\), .* \(2, 2\), ",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(make, message):
    with pytest.raises(UserError, match=message):
        make(*networks())
