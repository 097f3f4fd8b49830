import copy

import pytest
import torch

from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.models import ConvDiscriminator, ConvGenerator, MLPDiscriminator, MLPGenerator

IMAGES = [DataSpec((c, s, s), k) for c, s, k in ((1, 8, 0), (3, 16, 10), (3, 32, 0), (2, 64, 4), (1, 8, 10))]
POINTS = [DataSpec((2,)), DataSpec((5,), 3)]
CASES = (
    [(ConvGenerator, ConvDiscriminator, s) for s in IMAGES]
    + [(MLPGenerator, MLPDiscriminator, s) for s in IMAGES[:2] + POINTS]
)  # fmt: skip


def some_labels(spec, n=4):
    return torch.arange(n) % spec.classes if spec.classes else None


@pytest.mark.parametrize("generator, discriminator, spec", CASES)
def test_shapes_ranges_and_gradients(generator, discriminator, spec):
    g = generator(spec, width=8, latent_dim=6)
    d = discriminator(spec, width=8)
    labels = some_labels(spec)
    x = g(10 * torch.randn(4, g.latent_dim), labels)
    assert x.shape == (4, *spec.shape)
    if spec.image:
        assert x.abs().max() <= 1
    logits = d(x, labels)
    assert logits.shape == (4,)
    logits.square().sum().backward()
    for network in (g, d):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_points_are_not_squashed():
    g = MLPGenerator(DataSpec((2,)), width=8, latent_dim=2)
    assert g(1000 * torch.randn(50, 2)).abs().max() > 1


@pytest.mark.parametrize("generator, discriminator, spec", [c for c in CASES if c[2].classes])
def test_labels_change_the_output_and_are_required(generator, discriminator, spec):
    g, d = generator(spec, width=8), discriminator(spec, width=8)
    z, x = torch.randn(4, g.latent_dim), torch.randn(4, *spec.shape)
    labels = some_labels(spec)
    other = (labels + 1) % spec.classes
    assert not torch.allclose(g(z, labels), g(z, other))
    assert not torch.allclose(d(x, labels), d(x, other))
    for network, value in ((g, z), (d, x)):
        with pytest.raises(UserError, match="needs labels"):
            network(value)


def test_projection_is_an_inner_product_of_the_features_with_the_class():
    d = MLPDiscriminator(DataSpec((2,), 3), width=8)
    x, labels = torch.randn(4, 2), torch.tensor([0, 2, 1, 2])
    h = d.layers(x)
    v, b, e = d.logit.linear.weight[0], d.logit.linear.bias, d.logit.embedding.weight
    expected = torch.stack([(v + e[y]) @ h[i] + b[0] for i, y in enumerate(labels)])
    assert torch.allclose(d(x, labels), expected, atol=1e-6)


@pytest.mark.parametrize("discriminator, spec", [(ConvDiscriminator, IMAGES[4]), (MLPDiscriminator, POINTS[1])])
def test_spectral_norm_bounds_every_layer(discriminator, spec):
    torch.manual_seed(0)
    plain, normalised = discriminator(spec, width=16), discriminator(spec, width=16, spectral_norm=True)

    def largest(network):
        layers = [m for m in network.modules() if isinstance(getattr(m, "weight", None), torch.Tensor)]
        return torch.stack([torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in layers])

    assert largest(normalised).isfinite().all(), "from the start"
    with torch.no_grad():
        for p in [*plain.parameters(), *normalised.parameters()]:
            p.copy_(5 * torch.randn_like(p))
        for _ in range(100):
            normalised(torch.randn(2, *spec.shape), torch.zeros(2, dtype=torch.int64))
        assert (largest(plain) > 2).all()
        assert torch.allclose(largest(normalised), torch.ones(()), atol=0.02)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_generators_norms(norm):
    kinds = {"batch": torch.nn.BatchNorm2d, "group": torch.nn.GroupNorm}
    g = ConvGenerator(DataSpec((1, 16, 16)), width=12, norm=norm)
    present = {k for k, kind in kinds.items() if any(isinstance(m, kind) for m in g.modules())}
    assert present == ({norm} - {"none"})
    z = torch.randn(6, g.latent_dim)
    depends_on_the_batch = not torch.allclose(g(z)[:3], g(z[:3]), atol=1e-5)
    assert depends_on_the_batch == (norm == "batch")


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 12, 16), (2,), (1, 128, 128), (1, 4, 4)])
def test_sizes_that_do_not_fit_are_refused(shape):
    for network in (ConvGenerator, ConvDiscriminator):
        with pytest.raises(UserError, match="images whose shorter side has 8, 16, 32, 64 pixels"):
            network(DataSpec(shape))


@pytest.mark.parametrize("generator, discriminator, spec", CASES[:2])
def test_copies_are_independent(generator, discriminator, spec):
    d = discriminator(spec, width=8, spectral_norm=True)
    d(torch.zeros(2, *spec.shape), some_labels(spec, 2))
    twin = copy.deepcopy(d)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1)
    x, labels = torch.randn(2, *spec.shape), some_labels(spec, 2)
    assert not torch.allclose(twin.eval()(x, labels), d.eval()(x, labels))
