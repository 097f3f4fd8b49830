"""How the metrics in the features of photos-classifier answer to photographs that are changed in known ways.

    python scripts/bench/photos_features.py data/cifar10-jpeg-test.tar.xz [--samples 800] [--output FILE]

The archive has photographs in a folder for each class, such as the test part of CIFAR-10, which the classifier was not
trained on. Every row compares as many images with the same photographs A: others of the same archive (B), and B after a
change. Means and standard errors are over five draws of A and B. The last line says which share of 300 photographs of a
class counts as memorised beside 300 others of it: the lowest and the highest of all classes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from gantrain.data import ImageArchive
from gantrain.data.pixels import resize
from gantrain.metrics import Extractor, Images, evaluate, make_extractor

FEATURES = "photos-classifier"
DRAWS = 5
OF_A_CLASS = 300


class Stack:
    """A data set of given images."""

    def __init__(self, samples: Tensor):
        self.samples = samples


def blurred(times: int) -> Callable[[Tensor], Tensor]:
    """Means over 3 x 3 pixels, that many times."""

    def change(images: Tensor) -> Tensor:
        levels = images.float()
        for _ in range(times):
            levels = avg_pool2d(pad(levels, [1, 1, 1, 1], mode="replicate"), 3, 1)
        return levels.round().to(torch.uint8)

    return change


def noisy(deviation: float) -> Callable[[Tensor], Tensor]:
    """Normal noise of a standard deviation in levels from 0 to 255."""

    def change(images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return (images + deviation * noise).round().clamp(0, 255).to(torch.uint8)

    return change


def rows(data: ImageArchive, n: int, draw: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The photographs A, and the images of each row."""
    assert data.labels is not None
    order = torch.randperm(len(data.samples), generator=torch.Generator().manual_seed(draw))
    a, rest = data.samples[order[:n]], order[n:]
    b = data.samples[rest[:n]]
    labels = data.labels[rest]
    classes = data.spec.classes
    few = a[torch.arange(n) % (n // 20)]
    return a, {
        "B, other photographs": b,
        "B enlarged to 64 pixels": resize(b, 64, 64),
        **{f"B blurred, {times} x 3 x 3 pixels": blurred(times)(b) for times in (1, 2, 4)},
        **{f"B with noise of {deviation} levels": noisy(deviation)(b) for deviation in (8, 16, 32)},
        "B without its colours": b.float().mean(1, keepdim=True).round().to(torch.uint8),
        f"{classes // 2} of {classes} classes": data.samples[rest[labels < classes // 2][:n]],
        f"1 of {classes} classes": data.samples[rest[labels == draw % classes][:n]],
        f"{n // 20} of A, again and again": few,
        "A itself, learnt by heart": a,
    }


def memorised(data: ImageArchive, extractor: Extractor) -> list[float]:
    """For each class, the share of its photographs that count as memorised beside others of it."""
    assert data.labels is not None
    shares = []
    for label in range(data.spec.classes):
        of_class = data.samples[data.labels == label]
        a, b = of_class[:OF_A_CLASS], of_class[OF_A_CLASS : 2 * OF_A_CLASS]
        report = evaluate(Images(Stack(b)), Images(Stack(a)), extractor, ["authenticity"])
        shares.append(report.scalars[f"memorised[{FEATURES}]"])
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive")
    parser.add_argument("--samples", type=int, default=800)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    data, extractor = ImageArchive(options.archive, split="test"), make_extractor(FEATURES)
    found: dict[str, list[dict[str, float]]] = {}
    for draw in range(DRAWS):
        a, changed = rows(data, options.samples, draw)
        for name, images in changed.items():
            if len(images) != options.samples:
                parser.error(f"--samples: {name}: there are only {len(images)} images; take fewer")
            report = evaluate(Images(Stack(images)), Images(Stack(a)), extractor, ["fid", "prc"])
            found.setdefault(name, []).append(report.scalars)
    names = [f"{name}[{FEATURES}]" for name in ("frechet_distance", "precision", "recall")]
    width = max(map(len, found))
    lines = [f"$ python scripts/bench/photos_features.py {' '.join(sys.argv[1:])}", machine()]
    lines += [f"{options.samples} images against as many, {DRAWS} draws, mean ± standard error"]
    lines.append(f"{'':{width}}" + "".join(f"  {name.partition('[')[0]:>20}" for name in names))
    for name, reports in found.items():
        cells = []
        for value in names:
            values = [report[value] for report in reports]
            cells.append(f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}")
        lines.append(f"{name:{width}}" + "".join(f"  {cell:>20}" for cell in cells))
    shares = memorised(data, extractor)
    lines.append(f"memorised of {OF_A_CLASS} of a class beside {OF_A_CLASS}: {min(shares):.3f} to {max(shares):.3f}")
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
