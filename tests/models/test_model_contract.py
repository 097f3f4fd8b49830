from gantrain import models
from gantrain.data import DataSpec
from gantrain.registry import kind
from gantrain.testing import ClassifierContract, DiscriminatorContract, GeneratorContract

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


class TestResNet(ClassifierContract):
    spec, couples_samples = COLOUR, True

    def make(self):
        return models.ResNet(self.spec, depth=14, width=4)


class TestWideResNet(ClassifierContract):
    spec, couples_samples = GREY, True

    def make(self):
        return models.WideResNet(self.spec, depth=10, width=1)


class TestVGG(ClassifierContract):
    spec, couples_samples = LARGE, True

    def make(self):
        return models.VGG(self.spec, depth=11, width=4)


class TestDenseNet(ClassifierContract):
    spec, couples_samples = GREY, True

    def make(self):
        return models.DenseNet(self.spec, growth=4, blocks=(2, 1, 1))


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


def test_every_network_of_ours_keeps_its_contract():
    contracts = {"generator": GeneratorContract, "discriminator": DiscriminatorContract}
    for role, contract in (contracts | {"classifier": ClassifierContract}).items():
        made = {type(subclass().make()).__name__ for subclass in contract.__subclasses__()}
        made |= {"HuggingFace"} if role == "classifier" else set()  # it reads files and tokens: test_huggingface.py
        assert made == {path.partition(":")[2] for path in kind(role).parts.values()}
