"""CelebA: images of faces, read from the published files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gantrain.config.base import nearest, one_of
from gantrain.data.datasets import published
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.readers.containers import Folder
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import Geometry
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, PositiveInt

_FILES = (
    "a folder celeba with the folder img_align_celeba and the files list_attr_celeba.txt, identity_CelebA.txt, "
    "list_bbox_celeba.txt, list_landmarks_align_celeba.txt and list_eval_partition.txt of "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
)


class CelebA(ImageSet):
    """CelebA, aligned: 162770 + 19867 + 19962 colour images of faces, 178 x 218 pixels, with 40 attributes.

    A square is cut out around the centre and scaled, as is usual in papers on GANs. The download needs the package
    gdown.

    Source: Liu et al., Deep learning face attributes in the wild, ICCV 2015.

    Args:
        split: "train", "validation", "test", or "all" three together.
        root: the folder that holds the folder celeba, or into which it is downloaded.
        download: whether the data set is downloaded if it is not in ``root``.
        size: the height and width of the images in pixels, after scaling.
        crop: the side of the square that is cut out, at most 178 pixels.
        attribute: an attribute such as Smiling, which makes two classes, with label 1 where it applies. By default the
            images have no labels.

    Raises:
        UserError: the data set is not in ``root`` and cannot be downloaded, or has no such attribute. When the samples
            are read: an image is damaged.
    """

    def __init__(
        self,
        split: Literal["train", "validation", "test", "all"] = "train",
        root: FolderPath = "data",
        download: bool = True,
        size: PositiveInt = 64,
        crop: PositiveInt = 178,
        attribute: str | None = None,
    ):
        part = "valid" if split == "validation" else split
        found = published.find("CelebA", Path(root), download, _FILES, split=part)
        labels = None
        if attribute is not None:
            known = [name for name in found.attr_names if name]
            if attribute not in known:
                close = nearest(attribute, known)
                raise UserError(f"data.attribute: expected {one_of(known)}, got {attribute!r}{close}")
            labels = found.attr[:, known.index(attribute)].long()
        images = Folder(Path(root, "celeba", "img_align_celeba"))
        samples = FileSamples(images, found.filename, 3, Geometry(size, crop), key="data.root")
        super().__init__(samples, labels, 0 if labels is None else 2)
