"""What the folders around image files mean: parts of a data set, and classes."""

from __future__ import annotations

from collections.abc import Iterable

from gantrain.data.readers.images import SUFFIXES
from gantrain.errors import UserError

_PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def part_called(folder: str) -> str | None:
    """The part of a data set that a folder's name stands for: "train", "validation", "test" or None."""
    return _PARTS.get(folder.lower())


class Layout:
    """The parts and classes of image files, from their paths alone.

    Files that are not called like an image and hidden ones are left out. Then a folder that holds all the others is
    passed through, unless it is a part or holds images itself. If all folders are then called like a part, they are the
    parts, else everything is the training part. Within the parts the outermost folders are the classes, numbered in the
    order of their names over all parts.

    Args:
        names: paths with slashes, relative to a common folder; they are compared, never opened.
        where: what messages call that folder.

    Attributes:
        classes: names of the classes in order; none where images lie in no folder.

    Raises:
        UserError: there is no image, or some lie beside class folders.
    """

    def __init__(self, names: Iterable[str], where: str):
        self._where = where
        places = {name: place for name in names if (place := place_of(name)) is not None}
        if not places:
            raise UserError(f"data.path: no image in {where}; expected files called {', '.join(SUFFIXES)}")
        while len({p[0] for p in places.values()}) == 1 and min(map(len, places.values())) > 2:
            if part_called(next(iter(places.values()))[0]):
                break
            places = {name: place[1:] for name, place in places.items()}

        divided = all(len(place) > 1 and part_called(place[0]) for place in places.values())
        self._parts: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, place in places.items():
            part = part_called(place[0]) if divided else "train"
            self._parts.setdefault(part, {})[name] = place[1:] if divided else place

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
        """Whether there is such a part."""
        return part in self._parts

    def labels(self, part: str) -> dict[str, int | None]:
        """The names of a part's images in the order of their paths, and their classes; None where there are none.

        Raises:
            UserError: there is no such part.
        """
        if part not in self._parts:
            found = ", ".join(self._parts)
            raise UserError(f"data.split: no folder {part} in {self._where}; its images are those of {found}")
        number = {name: i for i, name in enumerate(self.classes)}
        ordered = sorted(self._parts[part].items(), key=lambda item: item[1])
        return {name: number[place[0]] if self.classes else None for name, place in ordered}


def place_of(name: str) -> tuple[str, ...] | None:
    """The folders and the name of an image file, or None of any other."""
    place = tuple(folder for folder in name.split("/") if folder not in ("", ".", ".."))
    hidden = any(folder.startswith(".") or folder == "__MACOSX" for folder in place)
    return place if place and not hidden and name.lower().endswith(SUFFIXES) else None
