"""Trust in the code that a run's config names: a run that was trained here has it, a received run does not.

For each run whose config names code outside gantrain, a record of the digest of that config is kept in the user's own
state folder, which nobody receives with a run.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

from gantrain.config.targets import foreign_targets
from gantrain.config.types import shown
from gantrain.errors import Notice, UserError
from gantrain.utils.io import write_file

# The largest number of targets that a message names.
_NAMED = 8


def require_trusted(file: Path, content: Any, trust: bool) -> None:
    """Refuse a run's config that names code outside gantrain, unless it is the config of a run that was trained here.

    Args:
        file: the config's file in the run's folder.
        content: the config as plain data. Nothing that it names has been imported yet.
        trust: whether the user trusts the config whatever it names.

    Raises:
        UserError: the config is not trusted; the message names the code.
    """
    foreign = foreign_targets(content)
    if not foreign or trust or _recorded(file) == _digest(file):
        return
    named = [f"{shown(key)[1:-1]}: {shown(path)}" for key, path in foreign.items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    raise UserError(
        f"{file}: names code outside gantrain, which would be executed: {', '.join(named[:_NAMED])}{more}; the run was "
        "not trained here as it lies there. Read that code, then add --trust (in Python: trust=True)"
    )


def record_trained(file: Path, content: Any) -> None:
    """Record that the config of a run is the user's own, if it names code outside gantrain.

    A notice says if the record cannot be written: the run can then be read with ``--trust``.

    Args:
        file: the config's file in the run's folder, as it was written just now.
        content: the config as plain data.
    """
    if not foreign_targets(content):
        return
    try:
        record = _record(file)
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(record, f"{_digest(file)}\n{file.parent.resolve()}\n")
    except (OSError, RuntimeError, UserError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{file}: no record that this run is yours can be kept ({reason}); its commands will need --trust"
        warnings.warn(message, Notice, stacklevel=2)


def state_folder() -> Path:
    """The folder for what gantrain keeps for the user, across runs; it need not exist.

    Raises:
        RuntimeError: the user has no home.
    """
    given = Path(os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "gantrain"


def _record(file: Path) -> Path:
    place = hashlib.sha256(os.fsencode(file.parent.resolve())).hexdigest()
    return state_folder() / "trained" / place


def _recorded(file: Path) -> str | None:
    """The digest in the record of the run; None without a record."""
    try:
        return _record(file).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except (OSError, RuntimeError):
        return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
