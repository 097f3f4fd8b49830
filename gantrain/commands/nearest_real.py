"""The nearest real samples of a run's samples, as pictures and as a table."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrain.config.sections import Evaluate
from gantrain.data.dataset import DataSet
from gantrain.data.pixels import decode, encode, opaque_shape
from gantrain.errors import NotFound, Notice, UserError
from gantrain.metrics import Extractor, Neighbours, neighbours
from gantrain.metrics.extractors.factory import Extractors
from gantrain.plotting.images import captioned, png
from gantrain.runs.saved import SavedRun
from gantrain.train.callbacks.metrics import metrics_of

HEADER = ("sample", "space", "rank", "real", "distance", "file")


def nearest_real(
    saved: SavedRun, samples: Tensor, k: int, features: str | None, base: Path, trust: bool
) -> dict[Path, bytes]:
    """Files that show the nearest training samples of each sample, by pixels and by features.

    Args:
        saved: the run.
        samples: ``(n, *shape)``, its samples.
        k: the number of neighbours.
        features: the features, or None for those of the first metric that has some in the run's section ``evaluate``.
            Where the run has none, or they cannot be had, a notice says so.
        base: the path of the samples, to which the names of the files are appended.
        trust: as in :func:`~gantrain.runs.saved.load`.

    Returns:
        The content of each file: a picture for each space, and a table.

    Raises:
        UserError: the training data or the features that are asked for cannot be had.
    """
    data = saved.data
    extractor = features_of(saved, features, samples.device, trust)
    found = {"pixels" if saved.spec.image else "values": neighbours(samples, data, k)}
    if extractor is not None:
        found[extractor.name] = neighbours(samples, data, k, extractor)
    files = {}
    if saved.spec.image:
        for name, near in zip(("pixels", "features"), found.values(), strict=False):
            files[base.with_name(f"{base.name}_neighbours_{name}.png")] = png(picture(samples, data, near))
    stream = io.StringIO()
    rows = (row for space, near in found.items() for row in _rows(space, near, file_names(data)))
    csv.writer(stream, lineterminator="\n").writerows([HEADER, *rows])
    content = stream.getvalue().encode("utf-8", "surrogateescape")  # names of files are the bytes that they are
    return files | {base.with_name(f"{base.name}_neighbours.csv"): content}


def picture(samples: Tensor, data: DataSet, near: Neighbours) -> Tensor:
    """A row for each sample: the sample, then its neighbours with their distances."""
    n, k = near.rows.shape
    real = decode(encode(data.decode(data.samples[near.rows.flatten()].to("cpu"))))
    images = torch.cat([samples.cpu()[:, None], real.unflatten(0, (n, k))], dim=1).flatten(0, 1)
    captions = [text for row in near.distances.tolist() for text in ("", *(f"{distance:.3g}" for distance in row))]
    return captioned(images, captions, k + 1)


def _rows(space: str, near: Neighbours, files: list[str] | None) -> Iterator[tuple[Any, ...]]:
    for sample, (rows, distances) in enumerate(zip(near.rows.tolist(), near.distances.tolist(), strict=True)):
        for rank, (row, distance) in enumerate(zip(rows, distances, strict=True), start=1):
            yield sample, space, rank, row, distance, files[row] if files else ""


def file_names(data: DataSet) -> list[str] | None:
    """The name of the file of each sample; None where the samples are in no files of their own."""
    names: list[str] | None = getattr(getattr(data, "in_files", None), "names", None)
    return names if names is not None and len(names) == len(data.samples) else None


def features_of(saved: SavedRun, asked: str | None, device: torch.device, trust: bool) -> Extractor | None:
    """The network of the features in which neighbours are looked for; None where there is none, which a notice says.

    Args:
        saved: the run.
        asked: the features, or None for those of the run's section ``evaluate``.
        device: where the network is.
        trust: as in :func:`~gantrain.runs.saved.load`.

    Raises:
        UserError: the features that are asked for cannot be had.
    """
    if asked is not None:
        return Extractors(device, trust).make(asked)
    if not saved.spec.image:
        return None
    section: Evaluate | None = saved.settings.game_callbacks.get("metrics")
    message = "the run names no features (evaluate.features); name some with --features"
    try:
        entries, features = (section.metrics, section.features) if section is not None else ((), None)
        for entry in entries:
            (metric,) = metrics_of([entry], features, device, trust)
            if metric.extractor is not None:
                metric.extractor.require_shape(opaque_shape(tuple(saved.spec.shape)), "data")
                return metric.extractor
    except (NotFound, UserError) as error:
        message = str(error)
    warnings.warn(Notice(f"neighbours are looked for by pixels alone: {message}"), stacklevel=2)
    return None
