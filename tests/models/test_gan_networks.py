"""The published networks of GANs: sizes as counted by hand, initialisation, and their layers against formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, conv_transpose2d, interpolate, leaky_relu, linear, relu

from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.models import (
    BigGANDiscriminator,
    BigGANGenerator,
    ConvDiscriminator,
    ConvGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    FastGANDiscriminator,
    FastGANGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
    SNDCGANDiscriminator,
    SNDCGANGenerator,
    SNGANDiscriminator,
    SNGANGenerator,
)
from gantrain.models.layers.attention import SelfAttention
from gantrain.models.layers.conditioning import ConditionalBatchNorm
from gantrain.models.layers.resampling import Blur, Upsample
from gantrain.models.layers.spectral_norm import spectrally_normalised


def image(size, classes=0, channels=3):
    return DataSpec((channels, size, size), classes)


def count(network, spec, **keys):
    """Parameters, without allocating any."""
    with torch.device("meta"):
        return sum(p.numel() for p in network(spec, **keys).parameters())


def conv(a, b, k, bias=True):
    return a * b * k * k + b * bias


def sngan_generator(start, widths, bypasses, classes=0):
    total = (128 + 1) * widths[0] * start**2
    for a, b in zip(widths, widths[1:], strict=False):
        norms = 2 * (a + b) * (classes or 1)
        total += norms + conv(a, b, 3) + conv(b, b, 3) + bypasses * conv(a, b, 1)
    return total + 2 * widths[-1] + conv(widths[-1], 3, 3)


def sngan_discriminator(widths, halvings, classes=0):
    total = 0
    for i, (a, b) in enumerate(zip([3, *widths], widths, strict=False)):
        inner = b if i == 0 else a
        total += conv(a, inner, 3) + conv(inner, b, 3) + (conv(a, b, 1) if i < halvings or a != b else 0)
    return total + widths[-1] + 1 + classes * widths[-1]


# Table by table of Miyato et al., appendix B.4.
SNGAN = {
    32: (4, [256] * 4, [128] * 4, 2),
    48: (6, [512, 256, 128, 64], [64, 128, 256, 512, 1024], 4),
    64: (4, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024], 5),
    128: (4, [1024, 1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024], 5),
}


@pytest.mark.parametrize("size", SNGAN)
@pytest.mark.parametrize("classes", [0, 10])
def test_sngan_has_the_papers_layers(size, classes):
    start, generator, discriminator, halvings = SNGAN[size]
    assert count(SNGANGenerator, image(size, classes)) == sngan_generator(start, generator, size != 32, classes)
    # Spectral norm has no parameters; its power iterations take seconds on the meta device.
    counted = count(SNGANDiscriminator, image(size, classes), spectral_norm=False)
    assert counted == sngan_discriminator(discriminator, halvings, classes)


def test_the_pair_of_the_rapp_paper_has_as_many_parameters_as_counted_by_hand():
    assert count(SNGANGenerator, image(32)) == 528_384 + 3 * 1_181_184 + 512 + 6_915
    assert count(SNGANDiscriminator, image(32)) == 151_680 + 311_680 + 2 * 295_168 + 129


def test_larger_pairs_have_as_many_parameters_as_miyatos():
    """Those of the published networks for ImageNet; the blocks of the discriminator widen in their second layer."""
    published = {64: (12_220_675, 10_141_441), 128: (32_150_787, 29_017_857)}
    for size, (generator, discriminator) in published.items():
        assert count(SNGANGenerator, image(size)) == generator
        assert count(SNGANDiscriminator, image(size), spectral_norm=False) == discriminator


def test_dcgan_has_as_many_parameters_as_pytorchs_example():
    """Of half the paper's width, and without the bias of the logit: 3 576 704 and 2 765 568."""
    assert count(DCGANGenerator, image(64), width=64) == 3_576_704
    assert count(DCGANDiscriminator, image(64), width=64) == 2_765_568 + 1


def r3gan_stages(widths, blocks):
    def block(c):
        return conv(c, 2 * c, 1) + 2 * c * 16 * 9 + 2 * c + conv(2 * c, c, 1, False)

    mixing = sum(a * b for a, b in zip(widths, widths[1:], strict=False) if a != b)
    return blocks * sum(map(block, widths)) + mixing


@pytest.mark.parametrize("size, widths", [(32, [768] * 4), (64, [768] * 4 + [384]), (256, [768] * 4 + [384, 192, 96])])
def test_r3gan_has_the_published_widths(size, widths):
    c = widths[0]
    stages = r3gan_stages(widths, blocks=2) + widths[-1] * 3
    assert count(R3GANGenerator, image(size)) == stages + c * 16 + 64 * c
    assert count(R3GANDiscriminator, image(size)) == stages + c * 16 + c
    assert count(R3GANGenerator, image(size, 10)) == stages + c * 16 + 2 * 64 * c + 10 * 64
    assert count(R3GANDiscriminator, image(size, 10)) == stages + c * 16 + c * c + 10 * c


def test_r3gans_pair_for_cifar_has_the_published_number_of_parameters():
    assert count(R3GANGenerator, image(32, 10)) == 20_781_952
    assert count(R3GANDiscriminator, image(32, 10)) == 21_280_512


@pytest.mark.parametrize("size", [48, 64, 128])
@pytest.mark.parametrize("classes", [0, 3])
def test_sngan_makes_and_takes_images_of_its_sizes(size, classes):
    spec = image(size, classes, channels=1)
    g, d = SNGANGenerator(spec, width=2, latent_dim=3), SNGANDiscriminator(spec, width=2)
    labels = torch.tensor([0, 2]) if classes else None
    x = g(torch.randn(2, 3), labels)
    assert x.shape == (2, 1, size, size) and d(x, labels).shape == (2,)


@pytest.mark.parametrize("generator, discriminator", [(DCGANGenerator, DCGANDiscriminator),
                                                      (SNDCGANGenerator, SNDCGANDiscriminator),
                                                      (R3GANGenerator, R3GANDiscriminator)])  # fmt: skip
@pytest.mark.parametrize("size", [16, 128])
def test_so_do_the_others(generator, discriminator, size):
    spec = image(size, 3, channels=1)
    g, d = generator(spec, width=32, latent_dim=3), discriminator(spec, width=32)
    labels = torch.tensor([0, 2])
    x = g(torch.randn(2, 3), labels)
    assert x.shape == (2, 1, size, size) and d(x, labels).shape == (2,)


def test_sngans_generator_computes_what_the_paper_draws():
    g = SNGANGenerator(image(48), width=1, latent_dim=5)
    p = dict(g.named_parameters())
    z = torch.randn(4, 5)

    def normed(h, name):
        return relu(batch_norm(h, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True))

    h = linear(z, p["dense.weight"], p["dense.bias"]).view(4, 8, 6, 6)
    for i in range(3):
        b = f"blocks.{i}"
        up = interpolate(normed(h, f"{b}.norm1.norm"), scale_factor=2, mode="nearest")
        inner = conv2d(up, p[f"{b}.conv1.weight"], p[f"{b}.conv1.bias"], padding=1)
        inner = conv2d(normed(inner, f"{b}.norm2.norm"), p[f"{b}.conv2.weight"], p[f"{b}.conv2.bias"], padding=1)
        h = inner + conv2d(interpolate(h, scale_factor=2), p[f"{b}.bypass.weight"], p[f"{b}.bypass.bias"])
    expected = conv2d(normed(h, "to_image.0"), p["to_image.2.weight"], p["to_image.2.bias"], padding=1).tanh()
    assert torch.allclose(g(z), expected, atol=1e-5)


def test_sngans_discriminator_computes_what_the_paper_draws():
    d = SNGANDiscriminator(image(32), width=3, spectral_norm=False)
    p = dict(d.named_parameters())
    x = h = torch.randn(4, 3, 32, 32)
    for i in range(4):
        b = f"blocks.{i}"
        inner = conv2d(h if i == 0 else relu(h), p[f"{b}.conv1.weight"], p[f"{b}.conv1.bias"], padding=1)
        inner = conv2d(relu(inner), p[f"{b}.conv2.weight"], p[f"{b}.conv2.bias"], padding=1)
        if i < 2:
            bypass = conv2d(h, p[f"{b}.bypass.weight"], p[f"{b}.bypass.bias"])
            h = avg_pool2d(inner, 2) + avg_pool2d(bypass, 2)
        else:
            h = inner + h
    expected = linear(avg_pool2d(relu(h), 8).flatten(1), p["logit.linear.weight"], p["logit.linear.bias"])[:, 0]
    assert torch.allclose(d(x), expected, atol=1e-5)


def test_sndcgans_pair_computes_what_the_paper_draws_at_48_pixels():
    """Table 3 of the SNGAN paper's appendix, for STL-10: a first map of 6 by 6."""
    g, d = SNDCGANGenerator(image(48), width=2, latent_dim=5), SNDCGANDiscriminator(image(48), 2, spectral_norm=False)
    p, q = dict(g.named_parameters()), dict(d.named_parameters())
    z = torch.randn(4, 5)
    h = torch.einsum("nz,zchw->nchw", z, p["dense.weight"]) + p["dense.bias"][:, None, None]
    assert h.shape == (4, 16, 6, 6)
    for i, padding_and_stride in enumerate([(2, 1), (2, 1), (2, 1), (1, 1)]):
        norm = f"norms.{i}.norm"
        h = relu(batch_norm(h, None, None, p[f"{norm}.weight"], p[f"{norm}.bias"], training=True))
        h = conv_transpose2d(h, p[f"layers.{i}.weight"], p[f"layers.{i}.bias"], *padding_and_stride)
    x = g(z)
    assert torch.allclose(x, h.tanh(), atol=1e-5) and x.shape == (4, 3, 48, 48)
    for i, (channels, stride) in enumerate([(2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2), (16, 1)]):
        x = leaky_relu(conv2d(x, q[f"layers.{2 * i}.weight"], q[f"layers.{2 * i}.bias"], stride, 1), 0.1)
        assert x.shape[1] == channels
    expected = linear(x.flatten(1), q["logit.linear.weight"], q["logit.linear.bias"])[:, 0]
    assert torch.allclose(d(g(z)), expected, atol=1e-5)


def test_sndcgans_pair_has_as_many_parameters_as_the_published_codes():
    """The networks ``cnn`` of the code of arXiv 2310.13459, with its widths."""
    assert count(SNDCGANGenerator, image(32), width=128) == 13_116_419
    assert count(SNDCGANDiscriminator, image(32)) == 2_935_873


def test_sngan_is_drawn_from_xaviers_distribution_with_more_for_bypasses():
    torch.manual_seed(0)
    g, d = SNGANGenerator(image(48), width=8), SNGANDiscriminator(image(32), width=32, spectral_norm=False)
    layers = [(n, m) for net in (g, d) for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum("bypass" in name for name, _ in layers) == 5
    for name, layer in layers:
        fan_in, fan_out = layer.weight[0].numel(), layer.weight.shape[0] * layer.weight[0, 0].numel()
        bound = math.sqrt(6 / (fan_in + fan_out)) * (math.sqrt(2) if "bypass" in name else 1)
        largest = layer.weight.abs().max().item()
        assert 0.85 * bound < largest <= bound * (1 + 1e-6), name


def test_dcgan_is_drawn_as_in_the_paper():
    torch.manual_seed(0)
    plain = DCGANDiscriminator(image(32), width=32, batch_norm=False)
    assert not any(m.bias.any() for m in plain.modules() if isinstance(m, nn.Conv2d))
    for network in (DCGANGenerator(image(32), width=32), DCGANDiscriminator(image(32), width=32), plain):
        for m in network.modules():
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert m.weight.std().item() == pytest.approx(0.02, rel=0.1) and abs(m.weight.mean()) < 2e-3
            if isinstance(m, nn.BatchNorm2d):
                assert abs(m.weight.mean() - 1) < 0.02 and 0.01 < m.weight.std() < 0.03 and not m.bias.any()


def test_r3gans_blocks_begin_as_the_identity_and_keep_the_variance_by_the_number_of_blocks():
    torch.manual_seed(0)
    d = R3GANDiscriminator(image(32), width=128, blocks=2)
    gain = math.sqrt(2 / (1 + 0.2**2)) * 8**-0.25
    blocks = [layer for layer in d.layers if hasattr(layer, "layers")]
    assert len(blocks) == 8
    x = torch.randn(2, 128, 4, 4)
    for block in blocks:
        assert torch.equal(block(x), x)
        for layer in (block.layers[0], block.layers[2]):
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.05)
            assert not layer.bias.any()
    assert blocks[0].layers[2].weight.shape == (256, 16, 3, 3), "groups of 16 channels"
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) for m in d.modules())


def test_r3gans_labels_enter_by_an_inner_product_with_a_dense_layer():
    torch.manual_seed(0)
    d = R3GANDiscriminator(image(8, 3), width=32)
    h, labels = torch.randn(4, 32), torch.tensor([0, 2, 1, 2])
    logits = d.logit(h, labels)
    for i, y in enumerate(labels):
        expected = sum(d.logit.embedding.weight[y, k] * (d.logit.linear.weight[k] @ h[i]) for k in range(32))
        assert logits[i].item() == pytest.approx(expected.item(), abs=1e-6)
    plain = R3GANDiscriminator(image(8), width=32).logit
    assert torch.allclose(plain(h, None), h @ plain.linear.weight[0], atol=1e-6)


def test_r3gans_embeddings_are_drawn_as_dense_layers_of_one_hot_labels():
    torch.manual_seed(0)
    g, d = R3GANGenerator(image(8, 40), width=128), R3GANDiscriminator(image(8, 40), width=128)
    expected = {
        g.embed.embedding.weight: 40**-0.5,
        g.weights.weight: 128**-0.5,  # 64 latent numbers and as many of the label
        g.basis: 1.0,
        d.logit.embedding.weight: (40 * 128) ** -0.5,
        d.logit.linear.weight: 128**-0.5,
    }
    for weight, deviation in expected.items():
        assert weight.std().item() == pytest.approx(deviation, rel=0.06)


def test_resampling_convolves_with_1_3_3_1():
    """Worked out by hand: doubling takes (1, 3) / 4 of each two neighbours, halving (1, 3, 3, 1) / 8 of each four."""
    line = torch.tensor([8.0, 24.0, 72.0, 40.0])  # beyond the edge lie zeros
    x = line[:, None] + torch.outer(line, line)
    along = torch.tensor([6.0, 12.0, 20.0, 36.0, 60.0, 64.0, 48.0, 30.0])
    ones = torch.tensor([0.75, *6 * [1.0], 0.75])
    up = Upsample(saved=True)(x[None, None])[0, 0]
    assert torch.allclose(up, torch.outer(along, ones) + torch.outer(along, along))
    along = torch.tensor([(3 * 8 + 3 * 24 + 72) / 8, (24 + 3 * 72 + 3 * 40) / 8])
    down = Blur(padding=1, stride=2, saved=True)(x[None, None])[0, 0]
    assert torch.allclose(down, torch.outer(along, torch.full((2,), 7 / 8)) + torch.outer(along, along))


def test_resampling_keeps_the_grid_centred():
    """A ramp in the pixels' coordinates stays that ramp; the coordinates are those of the pixels' centres."""
    fine, coarse = (torch.arange(n) * 16 / n + 8 / n for n in (16, 8))
    ramp = (2 * coarse[:, None] - 3 * coarse[None, :])[None, None]
    finer = (2 * fine[:, None] - 3 * fine[None, :])[None, None]
    assert torch.allclose(Upsample(saved=True)(ramp)[..., 1:-1, 1:-1], finer[..., 1:-1, 1:-1], atol=1e-4)
    assert torch.allclose(
        Blur(padding=1, stride=2, saved=True)(finer)[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1], atol=1e-4
    )
    x = torch.randn(2, 3, 6, 6)
    for up in (True, False):
        resample = Upsample(saved=True) if up else Blur(padding=1, stride=2, saved=True)
        assert torch.allclose(resample(x.flip(2, 3)), resample(x).flip(2, 3), atol=1e-6), "no side is preferred"


def test_attention_is_the_papers_sums():
    torch.manual_seed(0)
    layer, x = SelfAttention(16), torch.randn(2, 16, 3, 2)
    assert torch.equal(layer(x), x), "it begins as the identity"
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    f, g, h, v = (getattr(layer, name).weight.flatten(1) for name in "fghv")
    assert f.shape == (2, 16) and v.shape == (16, 2)
    for image_, out in zip(x.flatten(2), layer(x).flatten(2), strict=True):
        for j in range(6):
            scores = torch.stack([(f @ image_[:, i]) @ (g @ image_[:, j]) for i in range(6)])
            beta = scores.exp() / scores.exp().sum()
            o = v @ sum(beta[i] * (h @ image_[:, i]) for i in range(6))
            assert torch.allclose(out[:, j], image_[:, j] + 0.7 * o, atol=1e-5)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_attention_stands_once_behind_the_map_of_its_size(size):
    seen = []
    networks = [SNGANGenerator(image(32), width=8, latent_dim=3, attention=size)]
    networks += [SNGANDiscriminator(image(32), width=8, attention=size)] if size < 32 else []
    for network in networks:
        (layer,) = (m for m in network.modules() if isinstance(m, SelfAttention))
        layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape[-2:]))
        network(torch.randn(2, 3) if isinstance(network, SNGANGenerator) else torch.randn(2, 3, 32, 32))
    assert seen == len(networks) * [(size, size)]


def test_conditional_batch_norm_is_batch_norm_with_the_classes_own_scale_and_shift():
    layer, plain = ConditionalBatchNorm(3, classes=4), ConditionalBatchNorm(3, classes=0)
    x, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 3, 1, 3, 0])
    assert torch.allclose(layer(x, labels), plain(x, None), atol=1e-6), "before anything is learnt"
    with torch.no_grad():
        layer.scale.normal_()
        layer.shift.normal_()
    mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
    for i, y in enumerate(labels):
        for c in range(3):
            normed = (x[i, c] - mean[c]) / torch.sqrt(variance[c] + 1e-5)
            assert torch.allclose(layer(x, labels)[i, c], layer.scale[y, c] * normed + layer.shift[y, c], atol=1e-5)
    with pytest.raises(UserError, match="needs labels"):
        layer(x, None)


def test_spectral_norm_reaches_every_layer_of_the_pair_and_no_batch_norm():
    for network in (SNGANGenerator(image(32, 3), width=8, latent_dim=4, spectral_norm=True),
                    SNGANDiscriminator(image(32, 3), width=8)):  # fmt: skip
        for m in network.modules():
            kind = isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)
            assert nn.utils.parametrize.is_parametrized(m) == kind
    d = SNGANDiscriminator(image(32), width=8)
    with torch.no_grad():
        for _ in range(50):
            d(torch.randn(2, 3, 32, 32))
    for m in d.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            assert torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    assert spectrally_normalised(ConditionalBatchNorm(3, 4)).scale is not None


@pytest.mark.parametrize("network, keys", [(SNGANDiscriminator, {"attention": 8}), (R3GANDiscriminator, {})])
def test_gradient_penalties_reach_the_parameters(network, keys):
    torch.manual_seed(0)
    d = network(image(32), width=16, **keys)
    with torch.no_grad():
        for p in d.parameters():
            p.add_(0.05 * torch.randn_like(p))  # away from the zeros at which they begin
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    gradients = torch.autograd.grad(slope.square().sum(), list(d.parameters()), allow_unused=True)
    reached = [n for (n, _), g in zip(d.named_parameters(), gradients, strict=True) if g is not None and g.any()]
    assert {n for n, _ in d.named_parameters() if n.endswith(("weight", "original"))} <= set(reached)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SNGANGenerator(image(28)), "model sngan: expected images whose shorter side has 32, 48, 64, 128 .*28"),
        (lambda: SNGANDiscriminator(DataSpec((2,))), r"model sngan: .* got data of shape \(2,\)"),
        (lambda: DCGANGenerator(image(8)), "model dcgan: expected images whose shorter side has 16, 32, 64"),
        (lambda: SNDCGANGenerator(image(28)), "model sndcgan: expected images whose shorter side has 16, 32, 48, 64"),
        (lambda: DCGANDiscriminator(DataSpec((3, 32, 36))), "expected a longer side .* multiple of 8 .* has 32"),
        (lambda: R3GANGenerator(image(48)), "model r3gan: expected images whose shorter side has 8, 16, 32"),
        (lambda: R3GANDiscriminator(image(64), width=24), "model r3gan: width: .* 24, must be a multiple of .* 16"),
        (lambda: R3GANGenerator(image(256), width=4), "model r3gan: width: .* must be a multiple of group_width"),
        (lambda: SNGANGenerator(image(32), attention=7), r"attention: .* \(8, 16, 32 pixels\), got 7"),
        (lambda: BigGANGenerator(image(32), latent_dim=81), "latent_dim: expected a multiple of 4, .* got 81"),
        (lambda: BigGANGenerator(image(32, 10), embedding_dim=0), "embedding_dim: 0 .* split_latent to false"),
        (lambda: BigGANDiscriminator(image(64), attention=64), r"attention: .* \(4, 8, 16, 32 pixels\) or 0, got 64"),
        (lambda: SNGANDiscriminator(image(64), attention=64), r"attention: .* \(2, 4, 8, 16, 32 pixels\), got 64"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UserError, match=message), torch.device("meta"):
        make()


def test_biggan_has_the_published_numbers_of_parameters():
    """At 128 pixels with 1000 classes they are those that PyTorch-StudioGAN's log of BigGAN on ImageNet gives."""
    plain = {"spectral_norm": False, "initialisation": "normal"}
    imagenet, cifar = image(128, 1000), image(32, 10)
    assert count(BigGANGenerator, imagenet, **plain) == 70_433_988
    assert count(BigGANDiscriminator, imagenet, **plain) == 87_982_370
    block = conv(256, 256, 3) * 2 + conv(256, 256, 1)
    by_class = {"embedding_dim": 0, "split_latent": False} | plain
    rest = 129 * 256 * 16 + 2 * 256 + conv(256, 3, 3)
    assert count(BigGANGenerator, cifar, **by_class) == rest + 3 * (block + 2 * 2 * 10 * 256)
    shared = 21 * 256 * 16 + 2 * 256 + conv(256, 3, 3) + 10 * 128
    assert count(BigGANGenerator, cifar, **plain) == shared + 3 * (block + 2 * 2 * (128 + 20) * 256)
    first = conv(3, 256, 3) + conv(256, 256, 3) + conv(3, 256, 1)
    whole = 2 * (block - conv(256, 256, 1))
    assert count(BigGANDiscriminator, cifar, **plain) == first + block + whole + 257 + 10 * 256


@pytest.mark.parametrize("keys", [{}, {"embedding_dim": 0, "split_latent": False}])
def test_biggan_weights_are_orthogonal_and_each_part_of_the_latent_vector_has_its_block(keys):
    torch.manual_seed(0)
    g = BigGANGenerator(image(32, 5), width=4, **keys).eval()
    w = g.blocks[0].conv1.parametrizations.weight.original.flatten(1)
    assert torch.allclose(w @ w.T, torch.eye(16), atol=1e-5)
    z, y = torch.randn(6, g.latent_dim), torch.arange(6) % 5
    if not keys:
        assert g.latent_dim == 80
        assert torch.allclose(g.embedding @ g.embedding.T, torch.eye(5), atol=1e-5)
        # A later block's part changes the image, but not the maps before that block.
        seen = []
        g.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
        first = g(z, y)
        z[:, 60:] += 1
        assert not torch.allclose(g(z, y), first)
        assert torch.equal(*seen)
    assert not torch.allclose(g(z, (y + 1) % 5), g(z, y))


def test_pooled_attention_is_that_of_the_maxima_of_squares():
    torch.manual_seed(0)
    layer = SelfAttention(16, values=8, pooled=True)
    layer.gamma.data.fill_(0.5)
    x = torch.randn(2, 16, 4, 6)
    w = {name: getattr(layer, name).weight[:, :, 0, 0] for name in "fghv"}
    out = torch.zeros_like(x)
    for n in range(2):
        f, h = (torch.einsum("oc,chw->ohw", w[k], x[n]).unfold(1, 2, 2).unfold(2, 2, 2).amax((3, 4)) for k in "fh")
        for r in range(4):
            for c in range(6):
                weights = torch.softmax(f.flatten(1).T @ (w["g"] @ x[n, :, r, c]), 0)
                out[n, :, r, c] = x[n, :, r, c] + 0.5 * w["v"] @ (h.flatten(1) @ weights)
    assert torch.allclose(layer(x), out, atol=1e-5)


def test_fastgan_has_the_numbers_of_parameters_counted_by_hand(monkeypatch):
    monkeypatch.setattr("gantrain.models.fastgan.spectrally_normalised", lambda network: network)  # it takes seconds

    def gated(a, b):
        return conv(a, 2 * b, 3, bias=False) + 4 * b

    def excitation(a, b):
        return 16 * a * b + b * b

    maps = [1024, 512, 256, 128, 128, 64, 32]
    total = 256 * 2048 * 16 + 2 * 2048 + conv(32, 3, 3, bias=False)
    for i, (a, b) in enumerate(zip(maps, maps[1:], strict=False)):
        total += gated(a, b) + (gated(b, b) + 2 if i % 2 == 0 else 0)
    total += excitation(1024, 128) + excitation(512, 64) + excitation(256, 32)
    assert count(FastGANGenerator, image(256)) == total

    def down(a, b, k):
        return conv(a, b, k, bias=False) + 2 * b

    maps = [16, 32, 64, 128, 256, 512]
    total = conv(3, 16, 3, bias=False) + sum(
        down(a, b, 4) + down(b, b, 3) + down(a, b, 1) for a, b in zip(maps, maps[1:], strict=False)
    )
    total += excitation(16, 128) + excitation(32, 256) + excitation(64, 512)
    total += down(512, 1024, 1) + 1024 * 16
    total += conv(3, 32, 4, bias=False) + down(32, 64, 4) + down(64, 128, 4) + down(128, 256, 4) + 256 * 16
    decoders = sum(
        gated(a, 128) + gated(128, 64) + gated(64, 64) + gated(64, 32) + conv(32, 3, 3, bias=False)
        for a in (512, 256, 256)
    )
    assert count(FastGANDiscriminator, image(256)) == total + decoders
    assert not FastGANDiscriminator(image(32), width=1, reconstruction=0.0).decoders


def test_fastgan_excites_and_adds_noise_only_once_its_scale_is_not_zero():
    torch.manual_seed(0)
    g = FastGANGenerator(image(64), width=4, latent_dim=8).eval()
    z = torch.randn(3, 8)
    assert torch.equal(g(z), g(z))
    scales = [p for name, p in g.named_parameters() if name.endswith("scale")]
    assert len(scales) == 4 and all(p == 0 for p in scales)
    scales[0].data.fill_(1.0)
    assert not torch.equal(g(z), g(z))
    assert list(g.excitations) == ["4"]
    factors = g.excitations["4"](torch.randn(3, 64, 4, 4))
    assert factors.shape == (3, 8, 1, 1) and 0 < factors.min() < factors.max() < 1


def test_fastgan_reconstructs_the_image_and_a_quarter_of_it():
    torch.manual_seed(0)
    d = FastGANDiscriminator(image(32), width=2, reconstruction=0.5).eval()
    x = torch.randn(2, 3, 32, 32)
    maps = d._maps(x)
    assert [tuple(m.shape[2:]) for m in maps] == [(32, 32), (16, 16), (8, 8)]
    losses = set()
    for lower in range(2):
        for right in range(2):
            part = (slice(None), slice(None), slice(8 * lower, 8 * lower + 8), slice(8 * right, 8 * right + 8))
            quarter = x[:, :, 16 * lower : 16 * lower + 16, 16 * right : 16 * right + 16]
            small = x[:, :, ::2, ::2]
            terms = [
                d.decoders["image"](maps[-1]) - small,
                d.decoders["small"](d.small(small)) - small,
                d.decoders["quarter"](maps[-2][part]) - quarter,
            ]
            losses.add(round(0.5 * sum(t.abs().mean() for t in terms).item(), 5))
    found = {round(d.auxiliary_loss(x, None).item(), 5) for _ in range(40)}
    assert len(losses) == 4 and found == losses
    assert FastGANDiscriminator(image(32), width=2, reconstruction=0.0).auxiliary_loss(x, None) is None


@pytest.mark.parametrize(
    "generator, discriminator, width, shape",
    [
        (ConvGenerator, ConvDiscriminator, 4, (3, 24, 16)),
        (DCGANGenerator, DCGANDiscriminator, 4, (3, 16, 20)),
        (SNGANGenerator, SNGANDiscriminator, 4, (4, 32, 48)),
        (R3GANGenerator, R3GANDiscriminator, 16, (3, 16, 24)),
        (BigGANGenerator, BigGANDiscriminator, 4, (4, 40, 32)),
        (FastGANGenerator, FastGANDiscriminator, 4, (3, 32, 40)),
    ],
)
def test_images_need_not_be_square(generator, discriminator, width, shape):
    spec = DataSpec(shape)
    g, d = generator(spec, width=width), discriminator(spec, width=width)
    images = g(torch.randn(2, g.latent_dim))
    assert images.shape == (2, *shape)
    assert d(images).shape == (2,)
    if isinstance(d, FastGANDiscriminator):
        assert d.auxiliary_loss(images, None).isfinite()
