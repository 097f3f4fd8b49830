"""Generators, discriminators, classifiers and perturbers, built from the description of the data; strategies."""

from gantrain.models.base import Classifier, Discriminator, Generator, Perturber
from gantrain.models.biggan import BigGANDiscriminator, BigGANGenerator
from gantrain.models.conv import ConvClassifier, ConvDiscriminator, ConvGenerator, ConvPerturber
from gantrain.models.dcgan import DCGANDiscriminator, DCGANGenerator
from gantrain.models.densenet import DenseNet
from gantrain.models.fastgan import FastGANDiscriminator, FastGANGenerator
from gantrain.models.freezing import freeze
from gantrain.models.huggingface import HuggingFace, HuggingFaceImageClassifier
from gantrain.models.imagenet_resnet import ImageNetResNet
from gantrain.models.interpolation import slerp
from gantrain.models.mlp import MLPClassifier, MLPDiscriminator, MLPGenerator, MLPPerturber
from gantrain.models.r3gan import R3GANDiscriminator, R3GANGenerator
from gantrain.models.resnet import ResNet
from gantrain.models.sndcgan import SNDCGANDiscriminator, SNDCGANGenerator
from gantrain.models.sngan import SNGANDiscriminator, SNGANGenerator
from gantrain.models.strategy import Softmax, Strategy, StrategySpec, Vector
from gantrain.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from gantrain.models.truncation import truncate
from gantrain.models.vgg import VGG
from gantrain.models.wide_resnet import WideResNet

__all__ = [
    "VGG",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "Classifier",
    "ConvClassifier",
    "ConvDiscriminator",
    "ConvGenerator",
    "ConvPerturber",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenseNet",
    "Discriminator",
    "FastGANDiscriminator",
    "FastGANGenerator",
    "Generator",
    "HuggingFace",
    "HuggingFaceImageClassifier",
    "ImageNetResNet",
    "MLPClassifier",
    "MLPDiscriminator",
    "MLPGenerator",
    "MLPPerturber",
    "Perturber",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "ResNet",
    "SNDCGANDiscriminator",
    "SNDCGANGenerator",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "Softmax",
    "Strategy",
    "StrategySpec",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "Vector",
    "WideResNet",
    "freeze",
    "slerp",
    "truncate",
]
