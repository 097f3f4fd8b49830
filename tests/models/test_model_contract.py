import copy

import pytest
import torch
from torch import nn

from gantrain import models
from gantrain.config.registry import kind
from gantrain.data import DataSpec
from gantrain.testing import ClassifierContract, DiscriminatorContract, GeneratorContract, PerturberContract

GREY = DataSpec((1, 8, 8), 3)
COLOUR = DataSpec((3, 16, 16), 4)
LARGE = DataSpec((3, 32, 32), 4)
POINTS = DataSpec((2,), 3)


class TestConvGenerator(GeneratorContract):
    spec, couples_samples = COLOUR, True

    def make(self):
        return models.ConvGenerator(self.spec.unconditional(), width=4, latent_dim=5)


class TestConditionalConvGeneratorWithGroupNorm(GeneratorContract):
    spec, conditional = COLOUR, True

    def make(self):
        return models.ConvGenerator(self.spec, width=4, latent_dim=5, norm="group")


class TestMLPGenerator(GeneratorContract):
    spec = POINTS

    def make(self):
        return models.MLPGenerator(self.spec.unconditional(), width=8, latent_dim=3)


class TestConditionalMLPGenerator(GeneratorContract):
    spec, conditional = GREY, True

    def make(self):
        return models.MLPGenerator(self.spec, width=8, latent_dim=3)


class TestConvDiscriminator(DiscriminatorContract):
    spec = COLOUR

    def make(self):
        return models.ConvDiscriminator(self.spec.unconditional(), width=4)


class TestConditionalSpectralConvDiscriminator(DiscriminatorContract):
    spec, conditional = COLOUR, True

    def make(self):
        return models.ConvDiscriminator(self.spec, width=4, spectral_norm=True)


class TestMLPDiscriminator(DiscriminatorContract):
    spec = POINTS

    def make(self):
        return models.MLPDiscriminator(self.spec.unconditional(), width=8)


class TestConditionalSpectralMLPDiscriminator(DiscriminatorContract):
    spec, conditional = POINTS, True

    def make(self):
        return models.MLPDiscriminator(self.spec, width=8, spectral_norm=True)


class TestDCGANGenerator(GeneratorContract):
    spec, couples_samples = COLOUR, True

    def make(self):
        return models.DCGANGenerator(self.spec.unconditional(), width=4, latent_dim=5)


class TestConditionalDCGANDiscriminator(DiscriminatorContract):
    spec, conditional, couples_samples = COLOUR, True, True

    def make(self):
        return models.DCGANDiscriminator(self.spec, width=4)


class TestDCGANDiscriminatorWithoutBatchNorm(DiscriminatorContract):
    spec = COLOUR

    def make(self):
        return models.DCGANDiscriminator(self.spec.unconditional(), width=4, batch_norm=False)


class TestConditionalSNDCGANGenerator(GeneratorContract):
    spec, conditional, couples_samples = COLOUR, True, True

    def make(self):
        return models.SNDCGANGenerator(self.spec, width=2, latent_dim=5)


class TestConditionalSNDCGANDiscriminator(DiscriminatorContract):
    spec, conditional = COLOUR, True

    def make(self):
        return models.SNDCGANDiscriminator(self.spec, width=2)


# Attention begins as the identity: its gate is 0.
ATTENTION = frozenset(f"blocks.1.attention.{layer}.weight" for layer in "fghv")


class TestSNGANGenerator(GeneratorContract):
    spec, couples_samples, unreached = LARGE, True, ATTENTION

    def make(self):
        return models.SNGANGenerator(self.spec.unconditional(), width=4, latent_dim=5, attention=16)


class TestConditionalSpectralSNGANGenerator(GeneratorContract):
    spec, conditional, couples_samples = LARGE, True, True

    def make(self):
        return models.SNGANGenerator(self.spec, width=4, latent_dim=5, spectral_norm=True)


class TestSNGANDiscriminator(DiscriminatorContract):
    spec = LARGE

    def make(self):
        return models.SNGANDiscriminator(self.spec.unconditional(), width=4)


class TestConditionalSNGANDiscriminatorWithAttention(DiscriminatorContract):
    spec, conditional = LARGE, True
    unreached = ATTENTION

    def make(self):
        return models.SNGANDiscriminator(self.spec, width=4, attention=8, spectral_norm=False)


def inner_layers(*blocks):
    """The last layer of each residual block begins at 0."""
    return frozenset(f"layers.{i}.layers.{j}.{kind}" for i in blocks for j in (0, 2) for kind in ("weight", "bias"))


class TestR3GANGenerator(GeneratorContract):
    spec, unreached = COLOUR, inner_layers(0, 2, 4)

    def make(self):
        return models.R3GANGenerator(self.spec.unconditional(), width=8, blocks=1, latent_dim=5)


class TestConditionalR3GANDiscriminator(DiscriminatorContract):
    spec, conditional, unreached = COLOUR, True, inner_layers(1, 3, 5)

    def make(self):
        return models.R3GANDiscriminator(self.spec, width=8, blocks=1)


class TestBigGANGenerator(GeneratorContract):
    spec, couples_samples = LARGE, True

    def make(self):
        return models.BigGANGenerator(self.spec.unconditional(), width=1, latent_dim=8)


class TestConditionalBigGANGenerator(GeneratorContract):
    spec, conditional, couples_samples = LARGE, True, True

    def make(self):
        return models.BigGANGenerator(self.spec, width=1, latent_dim=8, embedding_dim=4)


class TestConditionalBigGANDiscriminator(DiscriminatorContract):
    spec, conditional = LARGE, True

    def make(self):
        return models.BigGANDiscriminator(self.spec, width=1)


class TestConditionalFastGANGenerator(GeneratorContract):
    spec, conditional, couples_samples = LARGE, True, True

    def make(self):
        return models.FastGANGenerator(self.spec, width=2, latent_dim=5)

    def test_evaluation_is_repeatable_and_changes_nothing(self):
        network = self.seeded().eval()
        given, before = self.inputs(network), copy.deepcopy(network.state_dict())
        images = []
        for _ in range(2):
            torch.manual_seed(1)  # noise comes from the global generator, in evaluation mode too
            images.append(network(*given))
        assert torch.equal(*images)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class TestFastGANDiscriminator(DiscriminatorContract):
    spec, conditional, couples_samples = LARGE, True, True

    def make(self):
        return models.FastGANDiscriminator(self.spec, width=2, reconstruction=0.0)


class TestStyleGAN2Generator(GeneratorContract):
    spec = COLOUR

    def make(self):
        return models.StyleGAN2Generator(self.spec.unconditional(), width=4, latent_dim=5, mapping_layers=2)


class TestConditionalStyleGAN2GeneratorWithRandomNoise(GeneratorContract):
    spec, conditional = GREY, True

    def make(self):
        keys = {"mapping_layers": 2, "style_mixing": 0.0, "noise": "random"}
        return models.StyleGAN2Generator(self.spec, width=4, latent_dim=5, style_dim=6, **keys)


class TestStyleGAN2Discriminator(DiscriminatorContract):
    spec, couples_samples, couples_evaluation = COLOUR, True, True

    def make(self):
        return models.StyleGAN2Discriminator(self.spec.unconditional(), width=4)


class TestConditionalStyleGAN2DiscriminatorWithoutGroups(DiscriminatorContract):
    spec, conditional = GREY, True

    def make(self):
        return models.StyleGAN2Discriminator(self.spec, width=4, residual=False, group=None, mapping_layers=2)


class TestResNet(ClassifierContract):
    spec, couples_samples = COLOUR, True

    def make(self):
        return models.ResNet(self.spec, depth=14, width=4)


class TestWideResNet(ClassifierContract):
    spec, couples_samples = GREY, True

    def make(self):
        network = models.WideResNet(self.spec, depth=10, width=1)
        nn.init.normal_(network.head.weight)  # it begins at 0, and so would all logits
        return network


class TestVGG(ClassifierContract):
    spec, couples_samples = LARGE, True

    def make(self):
        return models.VGG(self.spec, depth=11, width=4)


class TestDenseNet(ClassifierContract):
    spec, couples_samples = GREY, True

    def make(self):
        return models.DenseNet(self.spec, growth=4, blocks=(2, 1, 1))


@pytest.mark.slow
class TestImageNetResNet(ClassifierContract):
    spec, couples_samples = LARGE, True

    def make(self):
        return models.ImageNetResNet(self.spec, depth=18)


class TestConvClassifier(ClassifierContract):
    spec, couples_samples = GREY, True

    def make(self):
        return models.ConvClassifier(self.spec, width=4)


class TestConvClassifierWithoutNorm(ClassifierContract):
    spec = COLOUR

    def make(self):
        return models.ConvClassifier(self.spec, width=4, norm="none")


class TestMLPClassifier(ClassifierContract):
    spec = POINTS

    def make(self):
        return models.MLPClassifier(self.spec, width=8)


class TestConvPerturber(PerturberContract):
    spec = COLOUR

    def make(self):
        return models.ConvPerturber(self.spec, width=4)


class TestMLPPerturber(PerturberContract):
    spec = POINTS

    def make(self):
        return models.MLPPerturber(self.spec, width=8)


class Remembering(models.MLPDiscriminator):
    """Its logits depend on other samples by a buffer alone, of which no gradient tells."""

    def __init__(self, spec):
        super().__init__(spec, width=8)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x, y=None):
        if self.training:
            self.mean.lerp_(x.mean().detach(), 0.1)
        return super().forward(x, y) - self.mean


def test_a_dependence_by_a_buffer_breaks_the_contract():
    contract = TestMLPDiscriminator()
    contract.make = lambda: Remembering(contract.spec.unconditional())
    with pytest.raises(AssertionError):
        contract.test_training_couples_samples_only_where_it_says_so()
    contract.couples_samples = True
    contract.test_training_couples_samples_only_where_it_says_so()


def test_every_network_of_ours_keeps_its_contract():
    contracts = {"generator": GeneratorContract, "discriminator": DiscriminatorContract}
    for role, contract in (contracts | {"classifier": ClassifierContract, "perturber": PerturberContract}).items():
        made = {type(subclass().make()).__name__ for subclass in contract.__subclasses__()}
        if role == "classifier":  # they read files: test_huggingface.py and test_huggingface_images.py
            made |= {"HuggingFace", "HuggingFaceImageClassifier"}
        assert made == {path.partition(":")[2] for path in kind(role).parts.values()}
