"""The record of the data that a run is trained on, by which a resumed run notices that they have changed."""

from __future__ import annotations

import json
from pathlib import Path

from gantrain.data.digest import Digest, difference
from gantrain.errors import UserError
from gantrain.utils.io import explaining_write_errors, open_regular, write_file

RECORD = "data.json"


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
        with open_regular(path) as file:
            before = Digest.from_dict(json.loads(file.read()))
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


def record_data(folder: Path, digest: Digest) -> None:
    """Write the digest of the data of a run into the run's folder.

    Raises:
        UserError: the file cannot be written.
    """
    with explaining_write_errors(folder):
        write_file(folder / RECORD, json.dumps(digest.as_dict()) + "\n", durable=True)
