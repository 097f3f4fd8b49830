"""A quick look at a user's images: how many there are, how large, grey or coloured, in which classes, and readable."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantrain.config.base import nearest
from gantrain.config.paths import not_found
from gantrain.config.types import one_line
from gantrain.data.datasets.image_files import ImageArchive, ImageFolder
from gantrain.data.readers import images as files
from gantrain.data.readers.containers import Container
from gantrain.data.readers.layout import Layout
from gantrain.data.readers.selection import select_images
from gantrain.errors import UserError

# At most so many images are opened, and at least so many, however many seconds it takes.
_MOST, _LEAST, _SECONDS = 400, 16, 4.0
# JPEG files are decoded at about this size, which is many times faster.
_DRAFT = 64
# Colours of a pixel that differ by no more than this many levels are the trace of a JPEG's compression.
_GREY = 8


@dataclass(frozen=True)
class Images:
    """What is known of a data set of images.

    Attributes:
        keys: the keys of the section ``data`` that name the data set.
        where: the path or the name of the data set.
        count: the number of images of the training part.
        short_sides: the shorter sides in pixels of the images that were opened, in ascending order.
        long_side: the longest side of them.
        channels: 1 if nearly all are grey, else 3.
        classes: the number of training images of each class; empty without classes.
        parts: the parts beside the training part.
        opened: the number of images that were opened.
        damaged: the names of those that cannot be read, each with the reason.
    """

    keys: dict[str, Any]
    where: str
    count: int
    short_sides: tuple[int, ...]
    long_side: int
    channels: int
    classes: dict[str, int] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    opened: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> int:
        """The number of images that can be read, judged by those that were opened."""
        return self.count - round(self.count * len(self.damaged) / max(self.opened, 1))

    @property
    def typical_side(self) -> int:
        """The shorter side that nine images of ten have at least."""
        return self.short_sides[len(self.short_sides) // 10]

    def described(self) -> str:
        """What was found, in a line."""
        kind = "grey" if self.channels == 1 else "colour"
        low, high = self.short_sides[0], self.long_side
        sides = f"{low} x {low} pixels" if low == high else f"sides of {low} to {high} pixels"
        text = f"{self.count} {kind} images in {one_line(self.where)}, {sides}"
        if self.classes:
            few, many = min(self.classes.values()), max(self.classes.values())
            text += f", {len(self.classes)} classes of {few if few == many else f'{few} to {many}'} images"
            text += f" ({_some(self.classes)})" if not self.classes.keys() <= {str(i) for i in range(1000)} else ""
        if self.parts:
            text += f", beside them a part for {' and one for '.join(self.parts)}"
        if 0 < self.opened < self.count:
            text += f"; {self.opened} of them were opened"
        if self.damaged:
            name, why = next(iter(self.damaged.items()))
            share = f"{len(self.damaged)} of {self.opened}" if self.opened < self.count else f"{len(self.damaged)}"
            text += f"; {share} cannot be read and will be left out ({one_line(name)}: {why})"
        return text


def _published(name: str, count: int, side: int, channels: int, classes: int, **keys: Any) -> Images:
    counts = dict.fromkeys(map(str, range(classes)), count // classes)
    return Images({"name": name, **keys}, name, count, (side,), side, channels, counts)


KNOWN = {
    "digits": _published("digits", 1797, 8, 1, 10),
    **{
        name: _published(name, *numbers, root="data")
        for name, numbers in {
            "cifar10": (50000, 32, 3, 10),
            "cifar100": (50000, 32, 3, 100),
            "fashion_mnist": (60000, 28, 1, 10),
            "kmnist": (60000, 28, 1, 10),
            "mnist": (60000, 28, 1, 10),
            "stl10": (5000, 96, 3, 10),
            "svhn": (73257, 32, 3, 10),
        }.items()
    },
}
"""The data sets that need no look, since they are published, by their names."""


def look(data: str) -> Images:
    """Look at a data set.

    Args:
        data: the path of a folder or archive of images, or a name in :data:`KNOWN`.

    Raises:
        UserError: there is nothing of this name, it holds no images, or none of them can be read.
    """
    path = Path(data)
    if not path.exists():
        if data in KNOWN:
            return KNOWN[data]
        expected = f"expected a folder or an archive of images, or one of {', '.join(KNOWN)}{nearest(data, KNOWN)}"
        raise not_found("--data", path, expected)
    try:
        return _files(path)
    except UserError as error:
        raise UserError(str(error).replace("data.path:", "--data:", 1)) from error


def _files(path: Path) -> Images:
    kind, name = (ImageFolder, "image_folder") if path.is_dir() else (ImageArchive, "image_archive")
    container = kind.container(path)
    layout = Layout(select_images(container), str(path))
    label_of = layout.labels("train")
    numbers = Counter(label_of.values())
    classes = {label: numbers[i] for i, label in enumerate(layout.classes)}
    found = Images({"name": name, "path": str(path)}, str(path), len(label_of), (), 0, 3, classes)
    parts = tuple(part for part in ("validation", "test") if layout.has(part))
    return _opened(replace(found, parts=parts), container, list(label_of))


def _opened(found: Images, container: Container, names: list[str]) -> Images:
    """What is found, and what some of its images show that are spread evenly over all."""
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(_MOST, len(names))).astype(int).tolist()]
    start, shorts, longest, grey, opened = time.monotonic(), [], 0, 0, 0
    damaged: dict[str, str] = {}
    for position, content in container.contents(chosen):
        opened += 1
        try:
            if isinstance(content, Exception):
                raise content
            size, is_grey = _shape(content)
        except Exception as error:
            damaged[chosen[position]] = files.reason(error)
        else:
            shorts.append(min(size))
            longest = max(longest, *size)
            grey += is_grey
        # A compressed tar would be read to its end in vain.
        if opened == len(chosen) or (opened >= _LEAST and time.monotonic() - start > _SECONDS):
            break
    if not shorts:
        name, why = next(iter(damaged.items()))
        raise UserError(
            f"--data: none of {opened} images in {one_line(found.where)} can be read: {one_line(name)}: {why}"
        )
    channels = 1 if grey >= 0.95 * len(shorts) else 3
    seen = replace(found, short_sides=tuple(sorted(shorts)), long_side=longest, channels=channels)
    return replace(seen, opened=opened, damaged=damaged)


def _shape(content: bytes) -> tuple[tuple[int, int], bool]:
    """The width and height of an image, and whether it is grey. It is decoded, if only coarsely.

    Raises:
        Exception: it cannot be read.
    """
    with files.opened(content) as image:
        size = image.size
        image.draft("RGB", (_DRAFT, _DRAFT))
        image.load()
        if image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
            return size, True
        colours = np.asarray(image.convert("RGB").resize((_DRAFT, _DRAFT), Image.Resampling.BOX)).astype(int)
    return size, int((colours.max(axis=2) - colours.min(axis=2)).max()) <= _GREY


def _some(names: dict[str, int]) -> str:
    most = 5
    return ", ".join(map(one_line, list(names)[:most])) + (", …" if len(names) > most else "")
