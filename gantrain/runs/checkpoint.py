"""Checkpoints: folders of safetensors and JSON that appear whole or not at all.

``step_500/`` holds one safetensors file for each part of the state that has tensors (``generator.safetensors`` with the
keys of the module's state dict), everything else in ``state.json``, and the SHA-256 of each file in ``manifest.json``.
Nothing in it is ever unpickled.

In ``state.json`` numbers, strings, booleans, null and lists stand for themselves; every JSON object has one key that
says what it is: ``{"dict": [[key, value], ...]}``, ``{"tuple": [...]}``, ``{"float": "inf"}``, ``{"tensor": "name"}``.

Of a run whose parameters are divided among processes, the tensors that no process has whole lie in the folder
``shards``, named ``PART/NAME``; see :mod:`gantrain.runs.checkpoint_shards`.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import Notice, UserError
from gantrain.runs.checkpoint_files import (
    CONFIG,
    FORMAT,
    MANIFEST,
    PART,
    REMAINS,
    SHARDS,
    STATE,
    Damaged,
    document_of,
    found,
    manifest_of,
    parse_json,
    read_file,
    sha256,
    sha256_of_file,
)
from gantrain.runs.checkpoint_shards import read_shards, write_shards
from gantrain.runs.safetensors_file import safetensors_file
from gantrain.utils.abandon import between_batches
from gantrain.utils.io import (
    Piece,
    bring_back,
    delete,
    remove_folder,
    replacing_folder,
    set_aside,
    write_file,
)
from gantrain.utils.shards import is_shard


def save(folder: Path, step: int, state: dict[str, Any], keep: int | None, config: str | None = None) -> None:
    """Write ``folder/step_<step>``, replacing an earlier one of that step, and delete all but the newest checkpoints.

    The files are written to ``step_<step>.tmp`` and synchronised to the disk, then the folder is renamed, and only then
    are older ones deleted: whenever the process dies, what has the name of a checkpoint is a whole checkpoint. If there
    is one of this step with the same content, it stays.

    Args:
        folder: the folder of the run, which exists.
        step: training steps taken.
        state: part -> tree of dict (keys str or int), list, tuple, int, float, str, bool, None and tensors, as
            ``state_dict()`` returns them. Tensors may lie on any device, be strided and share memory.
        keep: how many checkpoints stay, at least the new one; None keeps all. Checkpoints of later steps neither count
            nor are touched: a run that went on from an older checkpoint has left them behind.
        config: the config of the run as text, which is kept as ``run_config.yaml`` for the case that the run's is lost.

    Raises:
        Abandoned: the work is abandoned between two files; see :mod:`gantrain.utils.abandon`.
        UserError: the disk is full or not writable, or the state holds something that cannot be saved. Earlier
            checkpoints are as they were.
    """
    folder = Path(folder)
    skeletons, tensors = encode_parts(state)
    document = {"format": FORMAT, "step": step, "parts": skeletons}
    clear_remains(folder)
    path = folder / f"step_{step}"
    if not path.exists() or _manifest_if_whole(path) != {n: sha256(*c) for n, c in _files(document, tensors, config)}:
        with replacing_folder(path, durable=True, parents=False) as temporary:
            _fill(temporary, _files(document, tensors, config), {})
    _prune(folder, step, keep)


def save_together(
    folder: Path, step: int, state: dict[str, Any], keep: int | None, processes: Processes, config: str | None = None
) -> None:
    """Write the checkpoint of a run whose parameters are divided among processes; all call this together.

    Each process writes its own shards, and the first one everything else. The checkpoint appears once all have written,
    whole or not at all, as with :func:`save`. The state is not copied.

    Args:
        folder: the folder of the run, which exists and which all processes must see.
        step: as for :func:`save`.
        state: as for :func:`save`; all processes have the same state, with shards of their own.
        keep: as for :func:`save`.
        processes: all processes.
        config: as for :func:`save`.

    Raises:
        UserError: as :func:`save`, in all processes; or a process does not see the folder.
    """
    folder = Path(folder)
    skeletons, tensors = encode_parts(state)
    document = {"format": FORMAT, "step": step, "parts": skeletons}
    shards = {f"{part}/{name}": t for part, each in tensors.items() for name, t in each.items() if is_shard(t)}
    rest = {part: {name: t for name, t in each.items() if not is_shard(t)} for part, each in tensors.items()}
    first, path = processes.rank == 0, folder / f"step_{step}"
    temporary = path.with_name(f"{path.name}.tmp")
    with ExitStack() as held:
        with processes.raise_on_all():
            if first:
                clear_remains(folder)
                temporary = held.enter_context(replacing_folder(path, durable=True, parents=False))
        manifest = write_shards(temporary, shards, processes)
        with processes.raise_on_all():
            if first:
                _fill(temporary, _files(document, rest, config), manifest)
                held.close()
    with processes.raise_on_all():
        if first:
            _prune(folder, step, keep)


def load(path: Path) -> tuple[int, dict[str, Any]]:
    """Read a checkpoint folder and check it against its manifest. Files that the manifest does not name are not read.

    Returns:
        The step and the state as they were saved; tensors on the CPU, equal to the last bit, in memory of their own.

    Raises:
        UserError: a file is missing or cannot be read, or its content is not what was written.
    """
    path = Path(path)
    document: Any = None
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, digest in manifest_of(path).items():
        if name.startswith(f"{SHARDS}/"):
            _require_digest(path / name, digest)
            continue
        content = _verified(path / name, digest)
        if name == STATE:
            document = parse_json(path / name, content)
        elif name.endswith(".safetensors"):
            try:
                tensors[name.removesuffix(".safetensors")] = safetensors.torch.load(content)
            except (SafetensorError, ValueError, TypeError, KeyError) as error:
                raise Damaged(f"{path / name}: not a safetensors file: {error}") from error
    _add(tensors, read_shards(path))
    return document_of(path, document, tensors)


def load_share(path: Path, like: Tensor) -> tuple[int, dict[str, Any]]:
    """Read what this process needs of a checkpoint that is known to be whole.

    Args:
        path: the folder of the checkpoint.
        like: a sharded tensor.

    Returns:
        The step and the state. What is stored in shards is divided as ``like`` is, and this process has its own rows.
        What is stored whole lies in the files, of which as much comes into memory as is used.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    path = Path(path)
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in manifest_of(path):
        if name.endswith(".safetensors") and not name.startswith(f"{SHARDS}/"):
            try:
                tensors[name.removesuffix(".safetensors")] = safetensors.torch.load_file(path / name)
            except (SafetensorError, OSError, ValueError) as error:
                raise Damaged(f"{path / name}: cannot be read: {error}") from error
    _add(tensors, read_shards(path, like))
    return document_of(path, parse_json(path / STATE, read_file(path / STATE)), tensors)


def newest(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step in ``folder``, or None. A notice names each newer damaged one.

    Raises:
        UserError: a checkpoint cannot be read, so that nobody knows whether it is whole.
    """
    for _, path in sorted(found(folder).items(), reverse=True):
        try:
            _require_whole(path)
            return path
        except Damaged as error:
            if not path.exists():  # a run that goes on has deleted it, since there is a newer one
                return newest(folder)
            warnings.warn(f"passing over a damaged checkpoint: {error}", Notice, stacklevel=2)
    return None


def forget(folder: Path, step: int) -> None:
    """Set aside the checkpoints of steps after ``step``, because the run goes on from there.

    None is deleted, for it may hold training: a damaged one is renamed to ``step_N.damaged``, a whole one to
    ``step_N.left``. A notice names each.

    Raises:
        UserError: a checkpoint cannot be read or renamed.
    """
    for later in sorted(found(folder)):
        if later > step:
            path = Path(folder) / f"step_{later}"
            bring_back(path)
            try:
                _require_whole(path)
                aside = set_aside(path, "left")
            except Damaged:
                aside = set_aside(path, "damaged")
            warnings.warn(f"{path}: kept as {aside.name}", Notice, stacklevel=2)


def encode_parts(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The parts of a state as JSON without their tensors, and the tensors of each part by name.

    Raises:
        UserError: a part cannot name a file, or holds what cannot be saved.
    """
    skeletons: dict[str, Any] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for part, tree in state.items():
        if not PART.fullmatch(part):
            raise UserError(f"checkpoint: {part!r} cannot name a file")
        tensors[part] = {}
        skeletons[part] = _encode(tree, (part,), tensors[part])
    return skeletons, tensors


def _encode(value: Any, path: tuple[Any, ...], tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors are put into ``tensors`` under their paths without the part's name."""
    if isinstance(value, Tensor):
        name = ".".join(map(str, path[1:])) or "tensor"
        while name in tensors:
            name += "'"
        tensors[name] = value.detach()
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, list):
        return [_encode(v, (*path, i), tensors) for i, v in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, (*path, i), tensors) for i, v in enumerate(value)]}
    if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
        return {"dict": [[key, _encode(v, (*path, key), tensors)] for key, v in value.items()]}
    kind = "a dict whose keys are not str or int" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise UserError(f"checkpoint: {'.'.join(map(str, path))}: cannot save {kind}; keep it out of state_dict()")


def _files(
    document: dict[str, Any], parts: dict[str, dict[str, Tensor]], config: str | None
) -> Iterator[tuple[str, list[Piece]]]:
    """Name and content of each file of a checkpoint but its manifest; one after the other, since they may be large."""
    for part, tensors in sorted(parts.items()):
        if tensors:
            try:
                yield f"{part}.safetensors", safetensors_file(tensors)
            except (SafetensorError, ValueError, KeyError) as error:
                raise UserError(f"checkpoint: {part}: cannot be saved: {error}") from error
    if config is not None:
        yield CONFIG, [config.encode()]
    yield STATE, [json.dumps(document, allow_nan=False).encode()]


def _prune(folder: Path, step: int, keep: int | None) -> None:
    if keep is not None:
        earlier = sorted((s, path) for s, path in found(folder).items() if s <= step)
        for _, old in earlier[: -max(keep, 1)]:
            remove_folder(old)


def clear_remains(folder: Path) -> None:
    """Finish or undo what a process was killed at while it wrote or deleted checkpoints in ``folder``."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = REMAINS.fullmatch(entry.name)
        if match:
            bring_back(folder / f"step_{match['step']}")
            if not entry.name.endswith(".old.tmp"):
                delete(entry)


def _manifest_if_whole(path: Path) -> dict[str, str] | None:
    try:
        _require_whole(path)
        return manifest_of(path)
    except Damaged:
        return None


def _fill(folder: Path, files: Iterable[tuple[str, list[Piece]]], manifest: dict[str, str]) -> None:
    """Write the files of a checkpoint and its manifest, which has digests of those that are written already."""
    for name, content in files:
        between_batches()
        write_file(folder / name, content)
        manifest[name] = sha256(*content)
    write_file(folder / MANIFEST, json.dumps(manifest, indent=1))
    between_batches()


def _add(tensors: dict[str, dict[str, Tensor]], shards: Mapping[str, Tensor]) -> None:
    """Put tensors that are named ``PART/NAME`` among the others."""
    for key, t in shards.items():
        part, _, name = key.partition("/")
        tensors.setdefault(part, {})[name] = t


def _require_whole(path: Path) -> None:
    for name, digest in manifest_of(path).items():
        _require_digest(path / name, digest)


def _require_digest(file: Path, digest: str) -> None:
    if sha256_of_file(file) != digest:
        raise Damaged(f"{file}: damaged; its content is not what was written")


def _verified(file: Path, digest: str) -> bytes:
    """The content of a file, which is known to be what was written."""
    content = read_file(file)
    if sha256(content) != digest:
        raise Damaged(f"{file}: damaged; its content is not what was written")
    return content
