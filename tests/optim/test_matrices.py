"""Which weights of the shipped networks are matrices, and which of these are hidden."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from gantrain.config.parts import build
from gantrain.data import DataSpec
from gantrain.optim.matrices import hidden, matrices

SPEC = DataSpec((3, 16, 16), 10)


def named(network, found):
    names = {id(p): name for name, p in network.named_parameters()}
    return [names[id(matrix.parameter)] for matrix in found]


ORIGINAL = "parametrizations.weight.original"  # where spectral norm keeps a weight
# Network: the hidden matrices, and all others.
SPLITS = {
    ("generator", "conv"): (
        ["layers.3.weight"],
        ["embed.embedding.weight", "dense.weight", "layers.6.weight"],
    ),
    ("discriminator", "conv"): (
        ["layers.2.weight", "layers.4.weight"],
        ["layers.0.weight", "logit.linear.weight", "logit.embedding.weight"],
    ),
    ("generator", "mlp"): (["layers.2.weight"], ["embed.embedding.weight", "layers.0.weight", "layers.4.weight"]),
    ("discriminator", "mlp"): (
        ["layers.3.weight"],
        ["layers.1.weight", "logit.linear.weight", "logit.embedding.weight"],
    ),
    ("generator", "dcgan"): (["layers.4.weight"], ["embed.embedding.weight", "layers.0.weight", "layers.7.weight"]),
    ("generator", "sndcgan"): (
        ["layers.0.weight", "layers.1.weight", "layers.2.weight"],
        ["dense.weight", "layers.3.weight"],
    ),
    ("discriminator", "sndcgan"): (
        [f"layers.{i}.{ORIGINAL}" for i in (2, 4, 6, 8, 10, 12)],
        [f"{layer}.{ORIGINAL}" for layer in ("layers.0", "logit.linear", "logit.embedding")],
    ),
    ("discriminator", "dcgan"): (
        ["layers.2.weight"],
        ["layers.0.weight", "logit.linear.weight", "logit.embedding.weight"],
    ),
}


@pytest.mark.parametrize(("kind", "name"), SPLITS)
def test_the_shipped_gan_networks_are_split_as_written_here(kind, name):
    inner, outer = SPLITS[kind, name]
    for spec, embeddings in ((SPEC, True), (SPEC.unconditional(), False)):
        network = build(kind, {"name": name, "width": 8}, spec)
        assert named(network, hidden(network)) == inner
        kept = [n for n in outer if embeddings or "embedding" not in n]
        assert sorted(named(network, matrices(network))) == sorted(inner + kept)
        for matrix in matrices(network):
            assert matrix.transposed == isinstance(matrix.layer, nn.ConvTranspose2d)


def test_spectral_norm_and_the_scales_of_each_class():
    spec = DataSpec((3, 32, 32), 10)
    discriminator = build("discriminator", {"name": "sngan", "width": 8}, spec)
    inner = named(discriminator, hidden(discriminator))
    assert inner == [
        f"blocks.{block}.{layer}.parametrizations.weight.original"
        for block, layers in enumerate((("conv2", "bypass"), ("conv1", "conv2", "bypass"), *2 * [("conv1", "conv2")]))
        for layer in layers
    ]
    others = set(named(discriminator, matrices(discriminator))) - set(inner)
    layers = ("blocks.0.conv1", "logit.linear", "logit.embedding")
    assert others == {f"{layer}.parametrizations.weight.original" for layer in layers}

    generator = build("generator", {"name": "sngan", "width": 8}, spec)
    assert named(generator, hidden(generator)) == [f"blocks.{i}.conv{j}.weight" for i in range(3) for j in (1, 2)]
    # The scales and shifts of norms have two dimensions here, and are no matrices.
    assert generator.blocks[0].norm1.scale.shape == (10, 8)
    assert all(name.endswith("weight") for name in named(generator, matrices(generator)))
    assert len(matrices(generator)) == 8


def test_a_residual_classifier():
    network = build("classifier", {"name": "resnet", "depth": 20}, DataSpec((3, 32, 32), 10))
    every = [f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert named(network, matrices(network)) == every
    assert named(network, hidden(network)) == every[1:-1]
    assert every[-1] == "head.weight" and len(every) == 20


def test_norms_weight_norm_and_plain_parameters_are_no_matrices():
    network = nn.Sequential(
        spectral_norm(nn.Linear(4, 5)),
        nn.LayerNorm([2, 5]),
        weight_norm(nn.Linear(5, 5)),
        nn.Linear(5, 5),
        nn.MultiheadAttention(5, 1),
        nn.Linear(5, 2),
    )
    network.register_parameter("positions", nn.Parameter(torch.zeros(1, 4, 4)))
    assert named(network, matrices(network)) == [
        "0.parametrizations.weight.original",
        "3.weight",
        "4.in_proj_weight",
        "4.out_proj.weight",
        "5.weight",
    ]
    assert named(network, hidden(network)) == ["3.weight", "4.in_proj_weight", "4.out_proj.weight"]


def test_a_tied_weight_is_the_embeddings():
    network = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False))
    network[3].weight = network[0].weight
    assert named(network, matrices(network)) == ["0.weight", "1.weight", "2.weight"]
    assert "0.weight" not in named(network, hidden(network))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_networks_that_are_nothing_but_ends(layers):
    network = nn.Sequential(nn.BatchNorm1d(3), *[nn.Linear(3, 3) for _ in range(layers)])
    assert hidden(network) == [] and len(matrices(network)) == layers
