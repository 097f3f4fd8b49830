"""Architectures against the counts in their papers, and against formulas worked out by hand."""

import math

import pytest
import torch
from cases import few
from later import Later
from torch import nn
from torch.nn.functional import conv2d

from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.models import (
    VGG,
    ConvClassifier,
    DenseNet,
    ImageNetResNet,
    MLPClassifier,
    ResNet,
    WideResNet,
    densenet,
    resnet,
    wide_resnet,
)

functional = Later("torchvision.transforms.functional")
models = Later("torchvision.models")
CIFAR10, CIFAR100 = DataSpec((3, 32, 32), 10), DataSpec((3, 32, 32), 100)


def on_meta(network, *arguments, **keywords):
    with torch.device("meta"):
        return network(*arguments, **keywords)


def count(network):
    return sum(p.numel() for p in network.parameters())


def conv_norm(before, after, kernel=3):
    """A convolution without bias and its batch norm."""
    return before * after * kernel**2 + 2 * after


# He et al., table 6
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnet_has_the_parameters_of_the_paper(depth, millions):
    n = (depth - 2) // 6
    stages = sum(
        conv_norm(before, after) + (2 * n - 1) * conv_norm(after, after)
        for before, after in ((16, 16), (16, 32), (32, 64))
    )
    network = on_meta(ResNet, CIFAR10, depth)
    assert count(network) == conv_norm(3, 16) + stages + 64 * 10 + 10
    assert count(network) / 1e6 == pytest.approx(millions, rel=0.02)
    weighted = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth


@pytest.mark.parametrize(("depth", "width", "millions"), [(28, 10, 36.5), (28, 2, 1.5), (40, 4, 8.9), (16, 8, 11.0)])
def test_wide_resnet_has_the_parameters_of_the_paper(depth, width, millions):
    n = (depth - 4) // 6
    total, before = 3 * 16 * 9, 16
    for after in (16 * width, 32 * width, 64 * width):
        first = 2 * before + before * after * 9 + conv_norm(after, after) + before * after
        total += first + (n - 1) * 2 * conv_norm(after, after)
        before = after
    network = on_meta(WideResNet, CIFAR10, depth, width)
    assert count(network) == total + 2 * before + before * 10 + 10
    assert count(network) / 1e6 == pytest.approx(millions, rel=0.025)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == depth


def test_densenet_121_has_its_layers_and_its_parameters():
    total, width = 3 * 64 * 9, 64
    for i, length in enumerate((6, 12, 24, 16)):
        if i:
            total += 2 * width + width * width // 2
            width //= 2
        for _ in range(length):
            total += 2 * width + width * 128 + 2 * 128 + 128 * 32 * 9
            width += 32
    network = on_meta(DenseNet, CIFAR10)
    assert width == 1024
    assert count(network) == total + 2 * 1024 + 1024 * 10 + 10
    assert count(network) / 1e6 == pytest.approx(6.96, abs=0.005)
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in network.modules()) == 121


@pytest.mark.parametrize(("depth", "convolutions"), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_vgg_has_the_convolutions_of_the_paper(depth, convolutions):
    network = on_meta(VGG, CIFAR10, depth)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == convolutions
    if depth == 19:
        pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *3 * [(256, 256)], (256, 512), *7 * [(512, 512)]]
        assert count(network) == sum(conv_norm(a, b) for a, b in pairs) + 512 * 10 + 10
        assert count(network) / 1e6 == pytest.approx(20.0, abs=0.05)


@pytest.mark.parametrize("network", [ResNet, WideResNet, DenseNet, VGG, ConvClassifier, MLPClassifier])
def test_only_the_head_depends_on_the_number_of_classes(network):
    ten, hundred = (on_meta(network, spec) for spec in (CIFAR10, CIFAR100))
    features = [m for m in ten.modules() if isinstance(m, nn.Linear)][-1].in_features
    assert count(hundred) - count(ten) == 90 * (features + 1)
    assert hundred(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 100)


def normalised(x):
    """Each channel to mean 0 and variance 1 over the batch, as batch norm does in training."""
    mean, variance = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def features(network, x):
    """The shapes of what the convolutions give."""
    shapes = []
    hooks = [
        m.register_forward_hook(lambda m, a, y: shapes.append(tuple(y.shape[1:])))
        for m in network.modules()
        if isinstance(m, nn.Conv2d)
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return shapes


def test_feature_maps_shrink_where_the_papers_say():
    x = torch.empty(2, 3, 32, 32, device="meta")
    resnet = features(on_meta(ResNet, CIFAR10, 20), x)
    assert resnet == 7 * [(16, 32, 32)] + 6 * [(32, 16, 16)] + 6 * [(64, 8, 8)]
    wide = features(on_meta(WideResNet, CIFAR10, 10, 2), x)
    assert set(wide) == {(16, 32, 32), (32, 32, 32), (64, 16, 16), (128, 8, 8)}
    dense = features(on_meta(DenseNet, CIFAR10), x)
    assert dense[0] == (64, 32, 32)
    assert [side for width, side, _ in dense if width == 32] == 6 * [32] + 12 * [16] + 24 * [8] + 16 * [4]
    vgg = features(on_meta(VGG, CIFAR10), x)
    assert [side for _, side, _ in vgg] == [32, 32, 16, 16, *4 * [8], *4 * [4], *4 * [2]]


def test_a_block_of_resnet_is_the_identity_plus_two_convolutions():
    torch.manual_seed(0)
    block = resnet.Block(3, 5, stride=2)
    x = torch.randn(2, 3, 6, 6)
    first, _, _, second, _ = block.layers
    inner = normalised(conv2d(x, first.weight, stride=2, padding=1))
    inner = normalised(conv2d(inner.clamp(min=0), second.weight, padding=1))
    inner[:, :3] += x[:, :, ::2, ::2]
    assert torch.allclose(block(x), inner.clamp(min=0), atol=1e-5)


@pytest.mark.parametrize(("after", "stride"), [(3, 1), (5, 1), (5, 2)])
def test_a_block_of_a_wide_resnet_is_activated_before_it_branches(after, stride):
    torch.manual_seed(0)
    block = wide_resnet.Block(3, after, stride, dropout=0.0)
    x = torch.randn(2, 3, 6, 6)
    activated = normalised(x).clamp(min=0)
    first, _, _, _, second = block.layers
    inner = normalised(conv2d(activated, first.weight, stride=stride, padding=1)).clamp(min=0)
    shortcut = x if (after, stride) == (3, 1) else conv2d(activated, block.shortcut.weight, stride=stride)
    assert torch.allclose(block(x), shortcut + conv2d(inner, second.weight, padding=1), atol=1e-5)


def test_a_layer_of_densenet_adds_channels_to_what_it_sees():
    torch.manual_seed(0)
    layer = densenet.Layer(3, growth=2)
    x = torch.randn(2, 3, 6, 6)
    _, _, narrow, _, _, wide = layer.layers
    inner = conv2d(normalised(x).clamp(min=0), narrow.weight)
    assert inner.shape[1] == 8
    added = conv2d(normalised(inner).clamp(min=0), wide.weight, padding=1)
    assert torch.allclose(layer(x), torch.cat([x, added], dim=1), atol=1e-5)


def he(fan_in, fan_out):
    return math.sqrt(2 / fan_in)


def he_backwards(fan_in, fan_out):
    return math.sqrt(2 / fan_out)


def torchs(fan_in, fan_out):
    """The deviation of the uniform distribution between plus and minus 1 / sqrt(fan_in)."""
    return math.sqrt(1 / (3 * fan_in))


# The deviations of the weights of convolutions and of the dense layer, and that of its bias times sqrt(fan_in).
DRAWN = [
    (ResNet, {"depth": 8, "width": 32}, he, he, 3**-0.5),
    (WideResNet, {"depth": 10, "width": 2}, he, lambda *_: 0.0, 0.0),
    (VGG, {"depth": 11, "width": 16}, he_backwards, torchs, 3**-0.5),
    (DenseNet, {"blocks": (2, 2)}, torchs, torchs, 3**-0.5),
]


@pytest.mark.parametrize("network, keys, convolution, dense, bias", DRAWN)
def test_weights_are_drawn_as_in_the_published_code_of_sampa(network, keys, convolution, dense, bias):
    torch.manual_seed(0)
    for m in network(CIFAR100, **keys).modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            fan_in, fan_out = m.weight[0].numel(), m.weight[:, 0].numel()
            expected = (convolution if isinstance(m, nn.Conv2d) else dense)(fan_in, fan_out)
            assert m.weight.std().item() == pytest.approx(expected, rel=0.1)
        if isinstance(m, nn.Linear):
            assert m.bias.std().item() * math.sqrt(fan_in) == pytest.approx(bias, rel=0.2)


def test_dropout_of_a_wide_resnet_acts_in_training_only():
    torch.manual_seed(0)
    network, plain = (WideResNet(DataSpec((1, 8, 8), 3), depth=10, width=1, dropout=p) for p in (0.5, 0.0))
    for each in (network, plain):
        nn.init.normal_(each.head.weight)
    x = torch.randn(4, 1, 8, 8)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    assert torch.equal(plain(x), plain(x))


# torchvision's table of weights.
@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_689_512), (50, 25_557_032), (152, 60_192_808)])
def test_a_resnet_of_imagenet_has_the_parameters_of_torchvision(depth, parameters):
    network = on_meta(ImageNetResNet, DataSpec((3, 224, 224), 1000), depth)
    assert count(network) == parameters
    assert network(torch.empty(2, 3, 224, 160, device="meta")).shape == (2, 1000)


def test_a_resnet_of_imagenet_takes_published_weights_but_for_another_head(tmp_path):
    torch.manual_seed(0)
    published = models.resnet18(num_classes=5).eval()
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    pixels = torch.rand(2, 3, 32, 40)
    images = 2 * pixels - 1
    same = ImageNetResNet(DataSpec((3, 32, 40), 5), 18, str(tmp_path / "resnet18.pth")).eval()
    expected = published(functional.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert torch.allclose(same(images), expected, atol=1e-4)
    other = ImageNetResNet(DataSpec((3, 32, 40), 3), 18, str(tmp_path / "resnet18.pth")).network
    assert torch.equal(other.layer4[1].conv2.weight, published.layer4[1].conv2.weight)
    assert other.fc.weight.shape == (3, 512) and other.fc.weight.std() > 0
    with pytest.raises(
        UserError, match="weights: .*resnet18.pth holds other tensors than those of torchvision's resnet34"
    ):
        ImageNetResNet(DataSpec((3, 32, 40), 3), 34, str(tmp_path / "resnet18.pth"))
    with pytest.raises(UserError, match="model imagenet_resnet: weights: there is nothing at lost.pth"):
        ImageNetResNet(DataSpec((3, 32, 40), 3), 18, str(tmp_path / "lost.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="model imagenet_resnet: weights: .*text.pth"):
        ImageNetResNet(DataSpec((3, 32, 40), 3), 18, str(tmp_path / "text.pth"))


def test_hidden_layers_of_vgg_are_dense_with_dropout_before_them():
    network, plain = VGG(CIFAR10, 11, width=4, hidden_layers=2).eval(), VGG(CIFAR10, 11, width=4)
    x = torch.randn(3, 3, 32, 32)
    features = network.layers(x).mean(dim=(2, 3))
    first, second = network.hidden[1], network.hidden[4]
    assert (first.in_features, first.out_features, second.out_features) == (32, 32, 32)
    expected = network.head(torch.relu(second(torch.relu(first(features)))))
    assert torch.allclose(network(x), expected)
    assert [m.p for m in network.hidden if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert not any(name.startswith("hidden") for name in plain.state_dict())


@pytest.mark.parametrize("size", few([8, 9, 28, 48], 9, 48))
def test_other_sizes(size):
    spec = DataSpec((1, size, size), 5)
    x = torch.empty(2, 1, size, size, device="meta")
    for network in (ResNet, WideResNet, DenseNet):
        assert on_meta(network, spec)(x).shape == (2, 5)
    if size == 48:
        assert on_meta(VGG, spec)(x).shape == (2, 5)


@pytest.mark.parametrize(
    ("network", "shape", "classes", "keywords", "message"),
    [
        (ResNet, (3, 32, 32), 10, {"depth": 54}, "model resnet: expected a depth of 6 n . 2, .* got 54"),
        (ResNet, (3, 32, 32), 10, {"depth": 2}, "model resnet: expected a depth of 6 n . 2, .* got 2"),
        (WideResNet, (3, 32, 32), 10, {"depth": 56}, "model wide_resnet: expected a depth of 6 n . 4, .* got 56"),
        (WideResNet, (3, 4, 4), 10, {}, r"model wide_resnet: expected images of at least 8 x 8 .* \(3, 4, 4\)"),
        (VGG, (3, 16, 16), 10, {}, "model vgg: expected images of at least 32 x 32 pixels"),
        (DenseNet, (3, 32, 6), 10, {}, "model densenet: expected images of at least 8 x 8 pixels"),
        (DenseNet, (3, 8, 8), 10, {"blocks": (1, 1, 1, 1, 1)}, "model densenet: expected images of at least 16 x 16"),
        (ResNet, (2,), 10, {}, "model resnet: expected images"),
        (ImageNetResNet, (3, 16, 16), 10, {}, "model imagenet_resnet: expected images of at least 32 x 32 pixels"),
        (ImageNetResNet, (1, 32, 32), 10, {}, "model imagenet_resnet: expected 3 channels, .*; set data.channels"),
        (ConvClassifier, (1, 12, 12), 10, {}, "model conv: expected images whose shorter side has 8, 16, 32, 64"),
        *[(n, (3, 32, 32), 0, {}, "the data have no labels") for n in (ResNet, WideResNet, VGG, DenseNet)],
        *[(n, (3, 32, 32), 0, {}, "the data have no labels") for n in (ConvClassifier, MLPClassifier)],
    ],
)
def test_data_and_depths_that_do_not_fit_are_refused(network, shape, classes, keywords, message):
    with pytest.raises(UserError, match=message):
        network(DataSpec(shape, classes), **keywords)
