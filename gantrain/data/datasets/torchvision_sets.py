"""Published data sets of small images that torchvision can download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from gantrain.data.datasets import published
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.splits import training_part
from gantrain.data.pixels import resize

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, Fraction, NonNegativeInt, PositiveInt


class TorchvisionSet(ImageSet):
    """A data set with an official training and test part.

    Args:
        split: "train", "validation" (held out of the training part) or "test".
        root: the folder that holds the data set, or into which it is downloaded.
        download: whether the data set is downloaded if it is not in ``root``.
        size: the height and width in pixels, reached by bicubic interpolation; null leaves the published size.
        validation: the fraction of the training part that is held out for validation, the same samples in every run.
        label_noise: the probability that a label of the training part is replaced by a random class; validation and
            test labels stay clean.
        noise_seed: the seed of the label noise.

    Raises:
        UserError: the data set is not in ``root`` and cannot be downloaded, or the part is empty.
    """

    dataset: ClassVar[str]
    """The name of the class in torchvision.datasets."""
    classes: ClassVar[int] = 10
    """The number of classes."""
    files: ClassVar[str]
    """The files that ``root`` must hold and where to get them, as error messages say it."""

    def __init__(
        self,
        split: Literal["train", "validation", "test"] = "train",
        root: FolderPath = "data",
        download: bool = True,
        size: PositiveInt | None = None,
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        chosen = self._chosen("test" if split == "test" else "train")
        found = published.find(self.dataset, Path(root), download, self.files, **chosen)
        samples = _images(found.data)
        labels: Tensor | None = torch.as_tensor(_first(found, "targets", "labels")).long()
        if split != "test":
            samples, labels = training_part(samples, labels, self.classes, split, validation, label_noise, noise_seed)
        super().__init__(samples if size is None else resize(samples, size, size), labels, self.classes)

    @classmethod
    def _chosen(cls, part: str) -> dict[str, Any]:
        """The arguments with which torchvision's class selects the part."""
        return {"split": part} if cls.dataset in ("SVHN", "STL10") else {"train": part == "train"}


class CIFAR10(TorchvisionSet):
    """CIFAR-10: 50000 + 10000 colour images of 32 x 32 pixels, 10 classes.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    dataset = "CIFAR10"
    files = "the folder cifar-10-batches-py of https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


class CIFAR100(TorchvisionSet):
    """CIFAR-100: 50000 + 10000 colour images of 32 x 32 pixels, 100 classes.

    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    dataset = "CIFAR100"
    classes = 100
    files = "the folder cifar-100-python of https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"


class MNIST(TorchvisionSet):
    """MNIST: 60000 + 10000 grey images of handwritten digits, 28 x 28 pixels.

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """

    dataset = "MNIST"
    files = "the four files *-ubyte of http://yann.lecun.com/exdb/mnist, unpacked, in MNIST/raw"


class FashionMNIST(TorchvisionSet):
    """Fashion-MNIST: 60000 + 10000 grey images of clothing, 28 x 28 pixels, 10 classes.

    Source: Xiao et al., Fashion-MNIST, 2017.
    """

    dataset = "FashionMNIST"
    files = "the four files *-ubyte of https://github.com/zalandoresearch/fashion-mnist, unpacked, in FashionMNIST/raw"


class KMNIST(TorchvisionSet):
    """Kuzushiji-MNIST: 60000 + 10000 grey images of handwritten Japanese characters, 28 x 28 pixels, 10 classes.

    Source: Clanuwat et al., Deep learning for classical Japanese literature, 2018.
    """

    dataset = "KMNIST"
    files = "the four files *-ubyte of http://codh.rois.ac.jp/kmnist, unpacked, in KMNIST/raw"


class SVHN(TorchvisionSet):
    """Street view house numbers, cropped: 73257 + 26032 colour images of 32 x 32 pixels, 10 digits.

    Source: Netzer et al., Reading digits in natural images with unsupervised feature learning, 2011.
    """

    dataset = "SVHN"
    files = "train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers"


class STL10(TorchvisionSet):
    """STL-10, the labelled part: 5000 + 8000 colour images of 96 x 96 pixels, 10 classes.

    Source: Coates et al., An analysis of single-layer networks in unsupervised feature learning, AISTATS 2011.
    """

    dataset = "STL10"
    files = "the folder stl10_binary of http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"


def _images(data: Any) -> Tensor:
    """Images ``(n, h, w)``, ``(n, h, w, 3)`` or ``(n, 3, h, w)`` as ``(n, channels, h, w)``."""
    images = torch.as_tensor(data)
    if images.ndim == 3:
        return images.unsqueeze(1)
    return images.permute(0, 3, 1, 2).contiguous() if images.shape[3] == 3 else images.contiguous()


def _first(found: Any, *names: str) -> Any:
    return next(getattr(found, name) for name in names if hasattr(found, name))
