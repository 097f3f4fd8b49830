"""Data sets, augmentations, and batches that are a function of the seed and the number of the draw."""

from gantrain.data.ada import ADA
from gantrain.data.adopted import as_data_set
from gantrain.data.augment import Augmentation, Color, Crop, Cutout, Flip
from gantrain.data.batch import Batch, Batches
from gantrain.data.channel_norm import ChannelNorm
from gantrain.data.dataset import DataSet, Samples
from gantrain.data.datasets.celeba import CelebA
from gantrain.data.datasets.digits import Digits
from gantrain.data.datasets.gaussian_ring import GaussianRing
from gantrain.data.datasets.image_files import ImageArchive, ImageFolder
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.imagenet import ImageNet
from gantrain.data.datasets.lsun import LSUN
from gantrain.data.datasets.no_data import NoData
from gantrain.data.datasets.oxford import Flowers102, OxfordIIITPet
from gantrain.data.datasets.text import Text
from gantrain.data.datasets.torchvision_sets import CIFAR10, CIFAR100, KMNIST, MNIST, STL10, SVHN, FashionMNIST
from gantrain.data.diffaugment import DiffAugment
from gantrain.data.spec import DataSpec
from gantrain.data.step_means import StepMeans

__all__ = [
    "ADA",
    "Augmentation",
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
    "ChannelNorm",
    "Color",
    "Crop",
    "Cutout",
    "DataSet",
    "DataSpec",
    "DiffAugment",
    "Digits",
    "FashionMNIST",
    "Flip",
    "Flowers102",
    "GaussianRing",
    "ImageArchive",
    "ImageFolder",
    "ImageNet",
    "ImageSet",
    "NoData",
    "OxfordIIITPet",
    "Samples",
    "StepMeans",
    "Text",
    "as_data_set",
]
