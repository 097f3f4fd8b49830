"""What a run that goes on reads from its checkpoints beside the state of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantrain.config.base import nearest
from gantrain.errors import UserError
from gantrain.runs import checkpoint, checkpoint_files
from gantrain.runs.folder import is_run
from gantrain.runs.restore import part_of, require_fit
from gantrain.utils.nested import Maybe


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in the folder of a run; None if there is no checkpoint.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    path = checkpoint.newest(folder)
    if path is not None:
        return path
    damaged = [each.name for _, each in sorted(checkpoint_files.found(folder).items())]
    if damaged:
        raise UserError(
            f"{folder}: none of its checkpoints is whole ({', '.join(damaged)}), and they are left as they are; bring "
            "one back from a copy, or start over with --overwrite or another run.name"
        )
    return None


def nothing_to_resume(folder: Path) -> str:
    """Says that a run has no checkpoint and starts anew, and which run beside it bears the nearest name.

    Args:
        folder: the folder of the run, before the run begins. One that has begun before is not called wrongly.
    """
    begun = is_run(folder) or not folder.parent.is_dir()
    names = [] if begun else [entry.name for entry in folder.parent.iterdir() if is_run(entry)]
    return f"nothing to resume: {folder} has no checkpoint, so the run starts anew{nearest(folder.name, names)}"


def best_result(folder: Path) -> dict[str, Any] | None:
    """The name and the cost of the best evaluation, from its checkpoint in ``folder``; None if there is none.

    What is damaged is set aside.

    Raises:
        UserError: the checkpoint does not hold them.
    """
    path = checkpoint.newest(folder)
    if path is None:
        checkpoint.forget(folder, -1)
        return None
    step, state = checkpoint_files.numbers_of(path)
    best = part_of(state, "evaluation", path)
    require_fit(best, {"name": "", "cost": 0.0}, "evaluation", path)
    checkpoint.forget(folder, step)
    return dict(best)


def undone_work(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a checkpoint's step has left undone: the arguments of :meth:`~gantrain.train.loop.Loop.resumed`.

    Args:
        state: the state of the checkpoint.
        folder: the folder of the checkpoint, which messages name.

    Raises:
        UserError: the checkpoint says it in another form.
    """
    undone: Any = state.get("undone", {"pending": [], "unlogged": None, "rows": None})
    require_fit(undone, {"pending": None, "unlogged": None, "rows": Maybe(0)}, "undone", folder, counts=True)
    pending, unlogged = undone.get("pending"), undone.get("unlogged")
    many = len(pending) if isinstance(pending, list) else 0
    require_fit(pending, [""] * many, "undone.pending", folder)
    scalars = unlogged if isinstance(unlogged, dict) else {}
    require_fit(unlogged, Maybe(dict.fromkeys(scalars, 0.0)), "undone.unlogged", folder)
    return {"pending": pending, "unlogged": unlogged, "rows": undone.get("rows")}
