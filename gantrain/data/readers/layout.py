"""The meaning of the folders around image files: the parts of a data set, and its classes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from gantrain.data.readers.images import SUFFIXES
from gantrain.data.readers.selection import image_path_parts
from gantrain.errors import Notice, UserError

_PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def split_named(folder: str) -> str | None:
    """The part of a data set for which a folder's name stands: "train", "validation", "test" or None."""
    return _PARTS.get(folder.lower())


class Layout:
    """The parts and the classes of image files, found from their paths alone.

    1. Hidden files, those of operating systems, and files whose names do not end like an image's are left out.
    2. A folder that contains all files is passed through, unless its name is that of a part or it holds images itself.
    3. If all folders then have the name of a part, they are the parts. Otherwise all files are the training part, and a
       folder with the name of a part is a class, of which a line tells.
    4. Within the parts the outermost folders are the classes, numbered in the order of their names over all parts.

    Args:
        names: paths with slashes or backslashes, relative to a common folder; the files are not opened.
        where: the common folder, as error messages call it.

    Attributes:
        classes: the names of the classes in order; empty where images lie in no folder.

    Raises:
        UserError: there is no image, images lie beside class folders, or other folders lie beside several parts.
    """

    def __init__(self, names: Iterable[str], where: str):
        self._where = where
        places = {name: place for name in names if (place := image_path_parts(name))}
        if not places:
            raise UserError(f"data.path: no image in {where}; expected files called {', '.join(SUFFIXES)}")
        while len({p[0] for p in places.values()}) == 1 and min(map(len, places.values())) > 2:
            if split_named(next(iter(places.values()))[0]):
                break
            places = {name: place[1:] for name, place in places.items()}

        outermost = sorted({place[0] for place in places.values() if len(place) > 1})
        divided = all(len(place) > 1 and split_named(place[0]) for place in places.values())
        if not divided:
            _require_classes(outermost, where)
        self._parts: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, place in places.items():
            part = split_named(place[0]) if divided else None
            self._parts.setdefault(part or "train", {})[name] = place[1:] if divided else place

        inside = [(name, place) for part in self._parts.values() for name, place in part.items()]
        loose = next((name for name, place in inside if len(place) == 1), None)
        folder = next((place[0] for _, place in inside if len(place) > 1), None)
        if loose is not None and folder is not None:
            raise UserError(
                f"data.path: {loose} lies beside the class folder {folder} in {where}; "
                "expected all images in class folders, or none"
            )
        self.classes = tuple(sorted({place[0] for _, place in inside})) if folder is not None else ()

    def has(self, part: str) -> bool:
        """Whether the files have a part of this name."""
        return part in self._parts

    def labels(self, part: str) -> dict[str, int | None]:
        """The images of a part in the order of their paths, each with the number of its class or None without classes.

        Raises:
            UserError: the files have no such part.
        """
        if part not in self._parts:
            found = ", ".join(self._parts)
            raise UserError(f"data.split: no folder {part} in {self._where}; its images are those of {found}")
        number = {name: i for i, name in enumerate(self.classes)}
        ordered = sorted(self._parts[part].items(), key=lambda item: item[1])
        return {name: number[place[0]] if self.classes else None for name, place in ordered}


def _require_classes(folders: list[str], where: str) -> None:
    """Refuse folders of which some are parts and others are not; a single one may be a class, such as trains."""
    parts = [folder for folder in folders if split_named(folder)]
    others = [folder for folder in folders if not split_named(folder)]
    if len({split_named(part) for part in parts}) > 1 and others:
        raise UserError(
            f"data.path: the folder {others[0]} lies beside the parts {', '.join(parts)} in {where}; expected parts "
            "alone, with the class folders in them, or class folders alone"
        )
    if parts and others:
        warnings.warn(
            f"data: the folder {parts[0]} in {where} is taken for a class, since it lies beside {others[0]}; for a "
            "part of the data put the class folders into folders train and test",
            Notice,
            stacklevel=4,
        )
