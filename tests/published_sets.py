"""Published data sets, tiny, in the formats in which they are published; nothing is downloaded."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
from later import Later
from PIL import Image

torchvision = Later("torchvision")
PETS = {"Abyssinian_1": (1, "trainval"), "Abyssinian_100": (1, "test"), "german_shorthaired_12": (2, "trainval")}
FLOWERS = {"label": "imagelabels.mat", "setid": "setid.mat"}


def pixels(n, *shape):
    return np.random.randint(0, 256, (n, *shape), dtype=np.uint8)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_cifar(folder, monkeypatch, fine=False):
    """Tiny batches in CIFAR's format; what they hold, in order, by part."""
    cls = torchvision.datasets.CIFAR100 if fine else torchvision.datasets.CIFAR10
    base = folder / cls.base_folder
    base.mkdir(parents=True)
    key, classes = ("fine_labels", 100) if fine else ("labels", 10)
    made, lists = {}, {}
    for part, names in (("train", ["one", "two"]), ("test", ["three"])):
        images, labels, lists[part] = [], [], []
        for name in names:
            data, target = pixels(20, 3, 32, 32), np.random.randint(0, classes, 20).tolist()
            (base / name).write_bytes(pickle.dumps({"data": data.reshape(20, -1), key: target}))
            images.append(data)
            labels += target
            lists[part].append([name, md5(base / name)])
        made[part] = np.concatenate(images), labels
    names = "fine_label_names" if fine else "label_names"
    (base / "names").write_bytes(pickle.dumps({names: [str(i) for i in range(classes)]}))
    monkeypatch.setattr(cls, "train_list", lists["train"])
    monkeypatch.setattr(cls, "test_list", lists["test"])
    monkeypatch.setattr(cls, "meta", {"filename": "names", "key": names, "md5": md5(base / "names")})
    return made


def photograph(path, side):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, 20, 3), dtype=np.uint8)).save(path)


def make_flowers(root, monkeypatch):
    """Six flowers of three species, numbered as they are published: files and species from 1 on."""
    from scipy.io import savemat

    base = root / "flowers-102"
    for i in range(1, 7):
        photograph(base / "jpg" / f"image_{i:05d}.jpg", 20 + i)
    savemat(base / "imagelabels.mat", {"labels": np.array([[3, 1, 102, 3, 1, 102]])})
    savemat(base / "setid.mat", {"trnid": [[2, 1]], "valid": [[3, 6]], "tstid": [[4, 5]]})
    digests = {key: md5(base / name) for key, name in FLOWERS.items()}
    files = {"image": ("102flowers.tgz", ""), **{key: (name, digests[key]) for key, name in FLOWERS.items()}}
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)
    return base


def make_pets(root, monkeypatch=None):
    """Three pets of two breeds."""
    base = root / "oxford-iiit-pet"
    for i, name in enumerate(PETS):
        photograph(base / "images" / f"{name}.jpg", 22 + i)
    (base / "annotations").mkdir()
    for part in ("trainval", "test"):
        lines = [f"{name} {label} 1 1\n" for name, (label, of) in PETS.items() if of == part]
        (base / "annotations" / f"{part}.txt").write_text("".join(lines))
    return base


def make_imagenet(root):
    """Twelve images of two classes in the folder train, and two in val."""
    for i in range(14):
        part, name = ("val", f"ILSVRC2012_val_{i:08d}") if i < 2 else ("train", f"n_{i}")
        photograph(root / part / f"n0144{i % 2}" / f"{name}.JPEG", 40 + i)
    return root
