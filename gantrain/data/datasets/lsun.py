"""LSUN: images of scenes, read from the published databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from gantrain.config.base import nearest
from gantrain.config.paths import lacking
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.readers.containers import Databases
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import Geometry
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import FolderPath, PositiveInt

CATEGORIES = (
    "bedroom",
    "bridge",
    "church_outdoor",
    "classroom",
    "conference_room",
    "dining_room",
    "kitchen",
    "living_room",
    "restaurant",
    "tower",
)


class LSUN(ImageSet):
    """LSUN: ten categories of scenes, each of 126227 to 3033042 colour images whose shorter side has 256 pixels.

    The largest square around the centre is scaled to ``size``. The samples are in the order of the databases' keys.

    Source: Yu et al., LSUN: construction of a large-scale image dataset using deep learning with humans in the loop,
    2015.

    Args:
        categories: one or several of bedroom, bridge, church_outdoor, classroom, conference_room, dining_room, kitchen,
            living_room, restaurant, tower. Several categories are classes, numbered in the order in which you write
            them.
        split: "train", or "validation" with 300 images of each category.
        root: the folder that holds the unpacked databases, each a folder such as bedroom_train_lmdb.
        size: the height and width in pixels.

    Raises:
        UserError: a database is missing or damaged. When the samples are read: an image is damaged.

    Attributes:
        class_names: the categories, in the order of the labels.
    """

    def __init__(
        self,
        categories: str | tuple[str, ...] = "bedroom",
        split: Literal["train", "validation"] = "train",
        root: FolderPath = "data",
        size: PositiveInt = 64,
    ):
        self.class_names = (categories,) if isinstance(categories, str) else tuple(dict.fromkeys(categories))
        for name in self.class_names or ("",):
            if name not in CATEGORIES:
                known = f"one or several of {', '.join(CATEGORIES)}"
                raise UserError(f"data.categories: expected {known}, got {name!r}{nearest(name, CATEGORIES)}")
        part = "val" if split == "validation" else split
        folders = {name: Path(root, f"{name}_{part}_lmdb") for name in self.class_names}
        for folder in folders.values():
            if not (folder / "data.mdb").is_file():
                advice = f"put there the folder that {folder.name}.zip of https://github.com/fyu/lsun holds"
                raise lacking("data.root", folder.name, root, advice)
        databases = Databases(Path(root), folders)
        names = [entry.name for entry in databases.entries()]
        labels = None
        if len(folders) > 1:
            number = {name: i for i, name in enumerate(folders)}
            labels = torch.tensor([number[name.partition("/")[0]] for name in names])
        samples = FileSamples(databases, names, 3, Geometry(size), key="data.root")
        super().__init__(samples, labels, 0 if labels is None else len(folders))
