"""Small JSON files in the folder of a run, each of which records one thing about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gantrain.errors import UserError
from gantrain.utils.io import open_regular


def read_record(path: Path) -> Any:
    """The content of a record.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file cannot be read, or is no JSON.
    """
    try:
        with open_regular(path) as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); move it away") from error
