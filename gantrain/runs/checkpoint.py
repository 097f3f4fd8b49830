"""Checkpoints: folders of safetensors and JSON that appear whole or not at all.

``step_500/`` holds one safetensors file for each part of the state that has tensors (``generator.safetensors`` with the
keys of the module's state dict), everything else in ``state.json``, and the SHA-256 of each file in ``manifest.json``.
Nothing in it is ever unpickled.

In ``state.json`` numbers, strings, booleans, null and lists stand for themselves; every JSON object has one key that
says what it is: ``{"dict": [[key, value], ...]}``, ``{"tuple": [...]}``, ``{"float": "inf"}``, ``{"tensor": "name"}``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import Notice, UserError
from gantrain.utils.io import remove_folder, replacing_folder

STATE, MANIFEST = "state.json", "manifest.json"
FORMAT = 1
CHECKPOINT = re.compile(r"step_(0|[1-9][0-9]*)")
REMAINS = re.compile(r"step_(0|[1-9][0-9]*)(\.old)?\.tmp")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def save(folder: Path, step: int, state: dict[str, Any], keep: int | None) -> None:
    """Write ``folder/step_<step>``, replacing an earlier one of that step, and delete all but the newest checkpoints.

    The files are written to ``step_<step>.tmp`` and synchronised to the disk, then the folder is renamed, and only then
    are older ones deleted: whenever the process dies, what has the name of a checkpoint is a whole checkpoint.

    Args:
        folder: the folder of the run.
        step: training steps taken.
        state: part -> tree of dict (keys str or int), list, tuple, int, float, str, bool, None and tensors, as
            ``state_dict()`` returns them. Tensors may lie on any device, be strided and share memory.
        keep: how many checkpoints stay, at least the new one; None keeps all. Checkpoints of later steps neither count
            nor are touched: a run that went on from an older checkpoint has left them behind.

    Raises:
        UserError: the disk is full or not writable, or the state holds something that cannot be saved. Earlier
            checkpoints are as they were.
    """
    folder = Path(folder)
    skeletons, tensors = _encode_parts(state)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_remains(folder)
        with replacing_folder(folder / f"step_{step}", durable=True) as temporary:
            _write(temporary, {"format": FORMAT, "step": step, "parts": skeletons}, tensors)
        _prune(folder, step, keep)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: the checkpoint of step {step} could not be written: {error}") from error


def load(path: Path) -> tuple[int, dict[str, Any]]:
    """Read a checkpoint folder and check it against its manifest.

    Returns:
        The step and the state as they were saved; tensors on the CPU, equal to the last bit, in memory of their own.

    Raises:
        UserError: a file is missing or unknown, or its content is not what was written.
    """
    path = Path(path)
    document: Any = None
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, content in _verified(path):
        if name == STATE:
            document = _parse(path / name, content)
        elif name.endswith(".safetensors"):
            try:
                tensors[name.removesuffix(".safetensors")] = safetensors.torch.load(content)
            except (SafetensorError, ValueError, TypeError, KeyError) as error:
                raise UserError(f"{path / name}: not a safetensors file: {error}") from error
    try:
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"expected a checkpoint of format {FORMAT}")
        step, parts = document["step"], document["parts"]
        if type(step) is not int or not isinstance(parts, dict):
            raise ValueError("step or parts have the wrong type")
        return step, {part: _decode(skeleton, tensors.get(part, {})) for part, skeleton in parts.items()}
    except (ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{path / STATE}: not the state of a checkpoint: {error}") from error


def broadcast(state: dict[str, Any] | None, processes: Processes) -> dict[str, Any] | None:
    """Send the state that the first process passes to all processes, tensor by tensor; the others need no folder.

    Returns:
        The state, in every process; None if the first process passes None.
    """
    if processes.world_size == 1:
        return state
    skeletons, parts = _encode_parts(state or {})
    described = {part: {name: (t.shape, t.dtype) for name, t in tensors.items()} for part, tensors in parts.items()}
    exists, skeletons, described = processes.broadcast_object((state is not None, skeletons, described))
    if not exists:
        return None
    if processes.rank > 0:
        parts = {part: {name: torch.empty(t[0], dtype=t[1]) for name, t in d.items()} for part, d in described.items()}
    for tensors in parts.values():
        # Tensors are sent as bytes, since gloo does not know every type.
        processes.broadcast_([t.reshape(-1).view(torch.uint8) for t in tensors.values() if t.numel()])
    return {part: _decode(skeleton, parts[part]) for part, skeleton in skeletons.items()}


def newest(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step in ``folder``, or None. A notice names each newer damaged one."""
    for step in sorted(_steps(Path(folder)), reverse=True):
        path = Path(folder) / f"step_{step}"
        try:
            for _ in _verified(path):
                pass
            return path
        except UserError as error:
            warnings.warn(f"passing over a damaged checkpoint: {error}", Notice, stacklevel=2)
    return None


def forget(folder: Path, step: int) -> None:
    """Delete the checkpoints of steps after ``step``, whole or not, because the run goes on from there."""
    for later in _steps(Path(folder)):
        if later > step:
            remove_folder(Path(folder) / f"step_{later}")


def _encode_parts(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    skeletons: dict[str, Any] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for part, tree in state.items():
        if not PART.fullmatch(part):
            raise UserError(f"checkpoint: {part!r} cannot name a file")
        tensors[part] = {}
        skeletons[part] = _encode(tree, (part,), tensors[part])
    _separate(tensors)
    return skeletons, tensors


def _encode(value: Any, path: tuple[Any, ...], tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors are put into ``tensors`` under their paths without the part's name."""
    if isinstance(value, Tensor):
        name = ".".join(map(str, path[1:])) or "tensor"
        while name in tensors:
            name += "'"
        tensors[name] = value.detach().to("cpu").contiguous()
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


def _separate(parts: dict[str, dict[str, Tensor]]) -> None:
    # safetensors refuses tensors that share memory.
    for tensors in parts.values():
        seen = set()
        for name, tensor in tensors.items():
            storage = tensor.untyped_storage().data_ptr()
            if storage in seen:
                tensors[name] = tensor.clone()
            seen.add(storage)


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of ``_encode``; raises ValueError for anything that ``_encode`` does not write."""
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object with the keys {sorted(value)[:3]}")
    ((kind, content),) = value.items()
    if kind == "tuple" and isinstance(content, list):
        return tuple(_decode(v, tensors) for v in content)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "tensor" and isinstance(content, str):
        if content not in tensors:
            raise ValueError(f"no tensor {content!r} in the file of its part")
        return tensors[content]
    if kind == "dict" and isinstance(content, list):
        result: dict[str | int, Any] = {}
        for item in content:
            if not (isinstance(item, list) and len(item) == 2 and type(item[0]) in (str, int)):
                raise ValueError(f"an item of a dict that is not a pair of key and value: {str(item)[:40]}")
            if item[0] in result:
                raise ValueError(f"the key {item[0]!r} twice in a dict")
            result[item[0]] = _decode(item[1], tensors)
        return result
    raise ValueError(f"unknown object {kind!r}: {str(content)[:40]}")


def _write(folder: Path, document: dict[str, Any], parts: dict[str, dict[str, Tensor]]) -> None:
    for part, tensors in parts.items():
        if tensors:
            safetensors.torch.save_file(tensors, folder / f"{part}.safetensors")
    (folder / STATE).write_text(json.dumps(document, allow_nan=False))
    manifest = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _prune(folder: Path, step: int, keep: int | None) -> None:
    if keep is not None:
        for old in sorted(s for s in _steps(folder) if s <= step)[: -max(keep, 1)]:
            remove_folder(folder / f"step_{old}")


def _clear_remains(folder: Path) -> None:
    for entry in folder.iterdir():
        if REMAINS.fullmatch(entry.name):
            shutil.rmtree(entry)


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    matches = [CHECKPOINT.fullmatch(entry.name) for entry in folder.iterdir() if entry.is_dir()]
    return [int(match[1]) for match in matches if match]


def _verified(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, yielded once its content is known to be what the manifest says."""
    if not path.is_dir():
        raise UserError(f"{path}: no such checkpoint")
    if not (path / MANIFEST).is_file():
        raise UserError(f"{path / MANIFEST}: missing, so the checkpoint is not whole")
    manifest = _parse(path / MANIFEST, (path / MANIFEST).read_bytes())
    if not isinstance(manifest, dict) or STATE not in manifest:
        raise UserError(f"{path / MANIFEST}: not the manifest of a checkpoint")
    present = {entry.name for entry in path.iterdir()} - {MANIFEST}
    for name in sorted(present - manifest.keys()):
        raise UserError(f"{path / name}: not a file of this checkpoint; remove it if you trust the rest")
    for name, digest in manifest.items():
        file = path / name
        if name not in present or not file.is_file():
            raise UserError(f"{file}: missing from the checkpoint")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{file}: damaged; its content is not what was written")
        yield name, content


def _parse(file: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not valid JSON: {error}") from error


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
