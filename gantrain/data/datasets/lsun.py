"""LSUN: scenes, from their published databases."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from gantrain.config.base import nearest
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.readers.containers import Databases
from gantrain.data.readers.file_samples import FileSamples
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt

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

    The largest square around the centre is scaled. Reading needs the package lmdb. The samples are in the order of the
    databases' keys.

    Source: Yu et al., LSUN: construction of a large-scale image dataset using deep learning with humans in the loop,
    2015.

    Args:
        categories: one or several of bedroom, bridge, church_outdoor, classroom, conference_room, dining_room, kitchen,
            living_room, restaurant, tower; several are classes, numbered as they stand here.
        split: "train", or "validation": 300 of each.
        root: the folder that holds the unpacked databases, each a folder such as bedroom_train_lmdb.
        size: height and width in pixels.

    Raises:
        UserError: a database is not there, or cannot be read for want of lmdb. When the samples are read: an image is
            damaged.

    Attributes:
        class_names: the categories, by label.
    """

    def __init__(
        self,
        categories: str | tuple[str, ...] = "bedroom",
        split: Literal["train", "validation"] = "train",
        root: str = "data",
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
                raise UserError(
                    f"data.root: {folder.name} is not in {root!r}; put there the folder that {folder.name}.zip of "
                    "https://github.com/fyu/lsun holds"
                )
        if find_spec("lmdb") is None:
            raise UserError("data: LSUN is read by the package lmdb, which is not installed; pip install lmdb")
        databases = Databases(Path(root), folders)
        names = list(databases.names())
        labels = None
        if len(folders) > 1:
            number = {name: i for i, name in enumerate(folders)}
            labels = torch.tensor([number[name.partition("/")[0]] for name in names])
        samples = FileSamples(databases, names, 3, size, key="data.root")
        super().__init__(samples, labels, 0 if labels is None else len(folders))
