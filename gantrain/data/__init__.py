"""Data sets, augmentations, and batches that are a function of ``(seed, draw)``."""

from gantrain.data.augment import Color, Crop, Cutout, Flip
from gantrain.data.batch import Batch, Batches
from gantrain.data.celeba import CelebA
from gantrain.data.digits import Digits
from gantrain.data.gaussian_ring import GaussianRing
from gantrain.data.image_files import ImageArchive, ImageFolder
from gantrain.data.image_set import ImageSet
from gantrain.data.imagenet import ImageNet
from gantrain.data.lsun import LSUN
from gantrain.data.spec import DataSpec
from gantrain.data.standardise import Standardise
from gantrain.data.text import Text
from gantrain.data.torchvision_sets import CIFAR10, CIFAR100, KMNIST, MNIST, STL10, SVHN, FashionMNIST

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "LSUN",
    "MNIST",
    "STL10",
    "SVHN",
    "Batch",
    "Batches",
    "CelebA",
    "Color",
    "Crop",
    "Cutout",
    "DataSpec",
    "Digits",
    "FashionMNIST",
    "Flip",
    "GaussianRing",
    "ImageArchive",
    "ImageFolder",
    "ImageNet",
    "ImageSet",
    "Standardise",
    "Text",
]
