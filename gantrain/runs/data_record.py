"""The record of the data that a run is trained on.

By it a resumed run notices that they have changed, and a run is opened whose data are gone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gantrain.data.adopted import AdoptedDataSet
from gantrain.data.batch import Batches
from gantrain.data.dataset import DataSet
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.digest import Digest, difference
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.utils.io import explaining_write_errors, open_regular, write_file

RECORD = "data.json"


@dataclass(frozen=True)
class DataForm:
    """What a run's networks and pictures need to know of the data.

    Attributes:
        spec: the spec of the data.
        pixels: whether the data are images that are stored with values from 0 to 255, as gantrain's own are.
        class_names: the names of the classes in the order of their numbers; empty where they have none.
    """

    spec: DataSpec
    pixels: bool
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: DataSet | Batches) -> DataForm:
        """The form of a data set, or of the data that batches are taken from."""
        own = getattr(data.decode, "__func__", None) in (ImageSet.decode, AdoptedDataSet.decode)
        names = getattr(data, "class_names", None) or ()
        return cls(data.spec, own and data.samples.dtype == torch.uint8, tuple(map(str, names)))

    @classmethod
    def from_dict(cls, values: Any) -> DataForm:
        """The form that :func:`record_data` wrote.

        Raises:
            ValueError: the values are of another kind.
        """
        spec, pixels = values["spec"], values["pixels"]
        numbers = [spec["classes"], spec["vocabulary"], *spec["shape"]]
        if any(type(n) is not int for n in numbers) or type(spec["padding"]) not in (int, type(None)):
            raise ValueError("expected whole numbers")
        names = tuple(map(str, values.get("class_names", ())))
        shape = tuple(spec["shape"])
        numeric = bool(spec.get("numeric"))  # not in the records of earlier versions
        spec = DataSpec(shape, spec["classes"], spec["vocabulary"], spec["padding"], numeric)
        return cls(spec, bool(pixels), names)


def recorded_form(folder: Path) -> DataForm | None:
    """The form of the data of the run in a folder; None if the run is of an earlier version, or the record is lost."""
    try:
        with open_regular(folder / RECORD) as file:
            return DataForm.from_dict(json.loads(file.read()))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def check_data(folder: Path, now: Digest, accept: bool) -> tuple[Digest, str | None]:
    """Compare the data of a resumed run with those on record. Nothing is written.

    Args:
        folder: the folder of the run.
        now: the digest of the data as they are.
        accept: whether the run may go on with other data.

    Returns:
        The digest for :func:`record_data`; and, for the user, how the data differ, or None where they do not. A run
        without a record is one of an earlier version, and any data will do.

    Raises:
        UserError: the data differ and ``accept`` is false.
    """
    path = folder / RECORD
    try:
        before = recorded_digest(folder)
    except (FileNotFoundError, NotADirectoryError):
        return now, None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if accept:
            return now, f"data: {path} is damaged; going on with the data as they are"
        raise UserError(
            f"{path}: is damaged, and cannot say on which data the run was trained ({error}); add --accept-data to go "
            "on with the data as they are"
        ) from error
    found = difference(now, before)
    if found is None:
        return now.completed(before), None
    if accept:
        return now, f"data: {found}; going on with the data as they are"
    raise UserError(
        f"data: {found}, compared with the data on which the run in {folder} was trained; put them back, or add "
        "--accept-data to gantrain train --resume to go on with the data as they are"
    )


def recorded_digest(folder: Path) -> Digest:
    """The digest of the data of the run in a folder.

    Raises:
        OSError: there is no record, or it cannot be read.
        ValueError, RecursionError: it is damaged.
    """
    with open_regular(folder / RECORD) as file:
        return Digest.from_dict(json.loads(file.read()))


def record_data(folder: Path, digest: Digest, form: DataForm) -> None:
    """Write what is to be known of the data of a run into the run's folder.

    Args:
        folder: the folder of the run.
        digest: the digest of the data.
        form: their form.

    Raises:
        UserError: the file cannot be written.
    """
    with explaining_write_errors(folder):
        write_file(folder / RECORD, json.dumps(digest.as_dict() | asdict(form)) + "\n", durable=True)
