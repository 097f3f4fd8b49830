"""StyleGAN2's networks and their layers against closed forms, by hand, and against the published counts."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import DIGITS, back_to, config_of, same, state
from torch.nn.functional import conv2d

from gantrain.commands.train import train
from gantrain.config.schema import Config
from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.models import StyleGAN2Discriminator, StyleGAN2Generator
from gantrain.models.layers import latent_numbers
from gantrain.models.layers.equalised import EqualisedConv2d, EqualisedLinear
from gantrain.models.layers.minibatch_stddev import MinibatchStddev
from gantrain.models.layers.modulated import ModulatedConv2d
from gantrain.models.layers.resampling import Blur, Upsample


def image(size, classes=0, channels=3):
    return DataSpec((channels, size, size), classes)


def small(**keys):
    torch.manual_seed(0)
    g = StyleGAN2Generator(image(16), **{"width": 8, "latent_dim": 6, "mapping_layers": 2} | keys)
    with torch.no_grad():
        for name, p in g.named_parameters():
            if name.endswith("noise_strength"):
                p.fill_(0.5)
    return g


@pytest.mark.parametrize(
    "spec, plateau, layers, residual, generator, discriminator",
    [
        (image(32), None, 2, False, 19_947_539, 20_720_641),  # the settings for CIFAR-10
        (image(32, 10), None, 2, False, 20_215_315, 23_089_664),
        (image(256), None, 8, True, 24_767_458, 24_001_089),  # paper256
        (image(1024), None, 8, True, 30_370_060, 29_012_513),  # config F of the StyleGAN2 paper
        (image(256), 64, 8, True, 30_034_338, 28_864_129),
        (image(64, 5, 1), None, 2, True, 22_504_206, 25_773_312),
    ],
)
def test_the_numbers_of_parameters_are_the_published_ones(
    spec, plateau, layers, residual, generator, discriminator, monkeypatch
):
    monkeypatch.setattr(torch, "randn", torch.empty)  # nothing is drawn, which is faster
    g = StyleGAN2Generator(spec, mapping_layers=layers, plateau=plateau)
    d = StyleGAN2Discriminator(spec, residual=residual, plateau=plateau)
    assert sum(p.numel() for p in g.parameters()) == generator
    assert sum(p.numel() for p in d.parameters()) == discriminator


@pytest.mark.parametrize("network", [StyleGAN2Generator, StyleGAN2Discriminator])
@pytest.mark.parametrize("shape", [(3, 24, 24), (3, 32, 16), (3, 4, 4), (2,)])
def test_what_is_no_square_of_a_power_of_two_is_refused(network, shape):
    with pytest.raises(UserError, match="model stylegan2: expected square images of 8, 16, 32, .* 4096 pixels"):
        network(DataSpec(shape))


def test_a_modulated_convolution_is_a_convolution_with_a_weight_of_its_own_for_each_sample():
    torch.manual_seed(0)
    layer, x, w = ModulatedConv2d(3, 4, 3, 5), torch.randn(2, 3, 6, 6), torch.randn(2, 5)
    doubled = ModulatedConv2d(3, 4, 3, 5, double=True)
    flat = ModulatedConv2d(3, 4, 1, 5, demodulate=False)
    doubled.load_state_dict(layer.state_dict())
    for n in range(2):
        style = layer.affine.weight @ w[n] / math.sqrt(5) + layer.affine.bias
        weight = layer.weight * style[None, :, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        assert torch.allclose(layer(x, w)[n], conv2d(x[n], weight, padding=1), atol=1e-5)
        enlarged = conv2d(Upsample()(x[n : n + 1])[0], weight.flip(2, 3), padding=1)
        inside = slice(2, -2)  # at the edge it matters which comes first
        assert torch.allclose(doubled(x, w)[n][:, inside, inside], enlarged[:, inside, inside], atol=1e-5)
        style = flat.affine.weight @ w[n] / math.sqrt(5) + flat.affine.bias
        assert torch.allclose(flat(x, w)[n], conv2d(x[n], flat.weight * style[None, :, None, None]) / 3**0.5, atol=1e-5)
    assert torch.equal(layer.affine.bias, torch.ones(3)), "styles begin near 1"


def test_demodulation_keeps_unit_variance_whatever_the_style_is():
    torch.manual_seed(0)
    layer, x = ModulatedConv2d(64, 32, 3, 8), torch.randn(2, 64, 40, 40)
    for scale in (0.01, 1.0, 100.0):
        y = layer(x, scale * torch.randn(2, 8))[:, :, 1:-1, 1:-1]
        assert y.var(dim=(2, 3)).mean().item() == pytest.approx(1, abs=0.05)


def test_resampling_keeps_the_map_centred():
    line = torch.tensor([1.0, 3.0, 9.0, 5.0])
    x = (line[:, None] + 10 * line[None, :])[None, None]
    up = Upsample()(x)[0, 0]
    along = torch.tensor([0.75, 1.5, 2.5, 4.5, 7.5, 8.0, 6.0, 3.75])  # a quarter of a pixel away; beyond lie zeros
    assert up.shape == (8, 8)
    assert torch.allclose(up[1:-1, 1:-1], (along[:, None] + 10 * along[None, :])[1:-1, 1:-1])
    down = Blur(padding=1, stride=2)(x)[0, 0]
    assert down.shape == (2, 2)
    assert torch.equal(Upsample()(x.flip(3)), Upsample()(x).flip(3)), "no direction is preferred"
    point = torch.zeros(1, 1, 4, 4)
    point[..., 1, 2] = 64.0
    expected = torch.outer(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert torch.equal(Blur(padding=1, stride=2)(point)[0, 0], expected)


def test_minibatch_stddev_is_that_of_neighbours():
    x = torch.zeros(8, 2, 1, 2)
    x[:4, 0, 0, 0] = torch.tensor([1.0, 3.0, 1.0, 3.0])  # a standard deviation of 1 at one of four places
    x[4:, 1, 0, 1] = torch.tensor([0.0, 0.0, 4.0, 4.0])  # and of 2
    layer = MinibatchStddev(4)
    y = layer(x)
    assert y.shape == (8, 3, 1, 2) and torch.equal(y[:, :2], x)
    assert torch.allclose(y[:4, 2], torch.tensor(0.25 + 0.75e-4), atol=1e-6)
    assert torch.allclose(y[4:, 2], torch.tensor(0.5 + 0.75e-4), atol=1e-6)
    assert torch.equal(torch.cat([layer(x[:4]), layer(x[4:])]), y), "shares of a batch have the same groups"
    six = layer(x[:6])[:, 2, 0, 0]
    assert torch.equal(six[:3], six[:1].expand(3)) and torch.equal(six[3:], six[3:4].expand(3)), "two groups of three"


def test_an_equalised_layer_scales_its_weights_when_they_are_used():
    torch.manual_seed(0)
    dense, conv = EqualisedLinear(50, 400, bias=2.0, learning_rate=0.01), EqualisedConv2d(40, 60, 3)
    assert dense.weight.std().item() == pytest.approx(100, rel=0.03)
    assert conv.weight.std().item() == pytest.approx(1, rel=0.03)
    x = torch.randn(3, 50)
    assert torch.allclose(dense(x), 0.01 * (x @ dense.weight.t() / 50**0.5 + dense.bias), atol=1e-4)
    assert torch.allclose(dense(torch.zeros(1, 50)), torch.tensor(2.0))
    maps = torch.randn(1, 40, 5, 5)
    assert torch.allclose(conv(maps), conv2d(maps, conv.weight / 360**0.5, padding=1), atol=1e-5)


def test_numbers_of_latent_vectors_are_normal_and_depend_on_nothing_else():
    z = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    keys = latent_numbers.keys(z)
    x = latent_numbers.normal(keys, 3, 1000)
    assert abs(x.mean()) < 0.01 and abs(x.var() - 1) < 0.01 and abs((x**4).mean() - 3) < 0.05
    between = torch.cat([x, latent_numbers.normal(keys, 4, 1000)]) @ x.t() / 1000
    between[:200].fill_diagonal_(0)
    assert between.abs().max() < 0.2 and abs(between.var() * 1000 - 1) < 0.05, "rows and streams are independent"
    uniform = latent_numbers.uniform(keys, 3, 1000)
    assert uniform.min() >= 0 and uniform.max() <= 1 and torch.histc(uniform, 10, 0, 1).min() > 19_500
    order = torch.randperm(200)
    assert torch.equal(latent_numbers.normal(latent_numbers.keys(z[order].double()), 3, 1000), x[order])
    near = z.clone()
    near[:, 5] = torch.nextafter(near[:, 5], near[:, 5] + 1)
    other = latent_numbers.normal(latent_numbers.keys(near), 3, 1000)
    assert abs((other * x).mean()) < 0.01, "the smallest change of one entry changes all numbers"


def test_in_training_the_generator_is_a_function_of_the_latent_vector():
    g, z = small(), torch.randn(6, 6)
    whole, random = g(z), torch.get_rng_state()
    assert torch.equal(g(z), whole) and torch.equal(torch.get_rng_state(), random)
    assert torch.allclose(torch.cat([g(z[:2]), g(z[2:])]), whole, atol=1e-5)
    assert torch.allclose(g.synthesise(g.styles(z), z), whole)
    twins = g.synthesise(g.styles(z[:1]).expand(6, -1, -1), z)
    assert (twins[0] - twins[1]).std() > 0.01, "each sample has noise of its own"


def test_noise_in_evaluation_is_constant_random_or_none():
    z, images = torch.randn(2, 6).repeat_interleave(2, dim=0), {}
    z[1, 0] += 1e-6
    for noise in ("constant", "random", "none"):
        images[noise] = small(noise=noise).eval()(z)
        assert images[noise].abs().max() <= 1
    assert torch.allclose(images["constant"][0], images["constant"][1], atol=1e-3)
    assert (images["random"][0] - images["random"][1]).std() > 0.01
    assert (images["constant"] - images["none"]).std() > 0.01


def test_styles_are_mixed_behind_a_random_layer_with_the_given_probability():
    z = torch.randn(2000, 6)
    g = small(style_mixing=0.7, latent_dim=6)
    w = g.mapping(z, None)
    first = (g.styles(z) - w[:, None]).abs().sum(dim=2) < 1e-6
    mixed = ~first.all(dim=1)
    assert g.layers == 6 and first[:, 0].all() and mixed.float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert not (~first[:, :-1] & first[:, 1:]).any(), "once behind the layer, always"
    cuts = first[mixed].sum(dim=1)
    assert torch.bincount(cuts, minlength=6)[1:].div(len(cuts)).sub(0.2).abs().max() < 0.04 and cuts.max() == 5
    assert torch.equal(g.eval().styles(z), w[:, None].expand(-1, 6, -1))


def test_truncation_goes_towards_the_mean_style():
    g, z = small().eval(), torch.randn(3, 6)
    g.w_avg.normal_()
    assert torch.allclose(g.truncated(z, None, 1.0), g(z), atol=1e-5)
    middle = g.truncated(z, None, 0.0)
    assert torch.allclose(middle, g.synthesise(g.w_avg.expand(1, g.layers, 6)).expand(3, -1, -1, -1), atol=1e-5)
    half = g.w_avg + 0.5 * (g.mapping(z, None) - g.w_avg)
    assert torch.allclose(g.truncated(z, None, 0.5), g.synthesise(half[:, None].expand(-1, g.layers, -1)), atol=1e-5)


def test_the_mean_style_is_a_running_mean():
    g, z = small(style_mixing=1.0), torch.randn(50, 6)
    mean = g.mapping(z, None).mean(dim=0)
    g(z)
    assert torch.allclose(g.w_avg, 0.005 * mean)
    g(z)
    assert torch.allclose(g.w_avg, (1 - 0.995**2) * mean, rtol=1e-4)
    g.styles(z)
    g.eval()(z)
    assert torch.allclose(g.w_avg, (1 - 0.995**2) * mean, rtol=1e-4)


def test_second_derivatives_reach_the_parameters():
    g, d, z = small(), StyleGAN2Discriminator(image(16), width=8), torch.randn(4, 6)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    w = g.styles(z)
    (path,) = torch.autograd.grad(g.synthesise(w, z).square().sum(), w, create_graph=True)
    for network, value in ((d, slope), (g, path)):
        value.square().sum().backward()
        missing = {
            n for n, p in network.named_parameters() if n.endswith("weight") and (p.grad is None or not p.grad.any())
        }
        assert not missing


def test_a_run_goes_on_to_the_bit_and_its_mean_style_moves_once_in_a_step(tmp_path):
    model = {"name": "stylegan2", "width": 4, "mapping_layers": 2}
    changes = ["run.steps=4", "checkpoint.every=2", "checkpoint.keep=9", "outer={name: rapp}", "game.conditional=true"]
    config = config_of(DIGITS, tmp_path, *changes, "game.penalties=[{name: r1, every: 2}]")
    tree = config.model_dump()
    tree["game"]["generator"] |= {"model": model | {"latent_dim": 4}, "sharpness": {"name": "sam"}}
    tree["game"]["discriminator"] |= {"model": model}
    config = Config.model_validate(tree)
    run = train(config)
    straight = state(run)
    back_to(run, 2)
    w_avg = state(run)["generator"]["w_avg"]
    train(config, resume=True)
    assert same(state(run), straight)
    moved = straight["generator"]["w_avg"] - 0.995**2 * w_avg
    assert 0 < moved.abs().max() < 0.01 * 2, "two steps of 0.005 times a mean style"
    assert torch.equal(straight["ema"]["w_avg"], straight["generator"]["w_avg"])


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["constant", "random"])
def test_an_exported_graph_needs_no_operation_of_gantrains_and_takes_batches_of_any_size(noise):
    g = small(noise=noise, mapping_layers=1).eval().requires_grad_(False)
    program = torch.export.export(g, (torch.randn(3, 6),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    assert "gantrain" not in str(program.graph)
    # Neither is constant noise computed in the graph, from integers that ONNX does not have.
    assert (noise == "random") == ("xor" in str(program.graph))
    for n in (1, 5):
        z = torch.randn(n, 6)
        assert torch.equal(program.module()(z), g(z))
