"""The files of checkpoints, found and read without torch: everything that :mod:`gantrain.runs.checkpoint` writes but
the tensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantrain.errors import UserError
from gantrain.utils.io import Piece, replaced

STATE, MANIFEST = "state.json", "manifest.json"
# A copy of the run's config. By another name, since the folder would pass for a run's.
CONFIG = "run_config.yaml"
FORMAT = 1
CHECKPOINT = re.compile(r"step_(?P<step>0|[1-9][0-9]*)")
# What a process that was killed while it wrote or deleted a checkpoint has left.
REMAINS = re.compile(rf"{CHECKPOINT.pattern}(\.deleted|\.old)?\.tmp")
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# The folder in a checkpoint that holds what no process had whole, and the names of the files in it.
SHARDS = "shards"
_SHARD = re.compile(rf"{SHARDS}/{PART.pattern}")
# Read at once where a file is only looked through.
_CHUNK = 2**20


class Damaged(UserError):
    """A checkpoint is not what was written."""


def found(folder: Path) -> dict[int, Path]:
    """The checkpoints in ``folder`` by their steps, whole or not.

    Where a process was killed while it replaced a checkpoint, the earlier one counts, which has another name then.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    steps: dict[int, Path] = {}
    for entry in folder.iterdir():
        match = CHECKPOINT.fullmatch(entry.name) or REMAINS.fullmatch(entry.name)
        if match and entry.is_dir():
            path = folder / f"step_{int(match['step'])}"
            if entry == path or entry == replaced(path) and not path.exists():
                steps[int(match["step"])] = entry
    return steps


def numbers_of(path: Path) -> tuple[int, dict[str, Any]]:
    """The step and the state of a checkpoint without its tensors, in whose places stands None.

    All files must be there; of their contents only that of ``state.json`` is read and checked.

    Raises:
        Damaged: a file is missing, or ``state.json`` is not what was written.
        UserError: a file cannot be read.
    """
    path = Path(path)
    manifest = manifest_of(path)
    for name in manifest:
        if not (path / name).is_file():
            raise Damaged(f"{path / name}: missing, so the checkpoint is not whole")
    content = read_file(path / STATE)
    if sha256(content) != manifest[STATE]:
        raise Damaged(f"{path / STATE}: damaged; its content is not what was written")
    return document_of(path, parse_json(path / STATE, content), None)


def document_of(
    path: Path, document: Any, tensors: Mapping[str, Mapping[str, Any]] | None
) -> tuple[int, dict[str, Any]]:
    """The step and the state that a parsed ``state.json`` describes.

    Args:
        path: the folder of the checkpoint.
        document: the content of the file.
        tensors: the tensors by part and name; with None, None stands for each.

    Raises:
        Damaged: the document is not the state of a checkpoint.
    """
    try:
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"expected a checkpoint of format {FORMAT}")
        step, parts = document["step"], document["parts"]
        if type(step) is not int or not isinstance(parts, dict):
            raise ValueError("step or parts have the wrong type")
        if CHECKPOINT.fullmatch(path.name) and path.name != f"step_{step}":
            raise ValueError(f"it is of step {step}")
        return step, {
            part: decode(skeleton, None if tensors is None else tensors.get(part, {}))
            for part, skeleton in parts.items()
        }
    except (ValueError, KeyError, RecursionError) as error:
        raise Damaged(f"{path / STATE}: not the state of a checkpoint: {error}") from error


def decode(value: Any, tensors: Mapping[str, Any] | None) -> Any:
    """The tree that a value of ``state.json`` stands for.

    Args:
        value: the value.
        tensors: the tensors by name; with None, None stands for each.

    Raises:
        ValueError: checkpoints have no such value.
    """
    if isinstance(value, list):
        return [decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError(f"an object with the keys {sorted(value)[:3]}")
    ((kind, content),) = value.items()
    if kind == "tuple" and isinstance(content, list):
        return tuple(decode(v, tensors) for v in content)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "tensor" and isinstance(content, str):
        if tensors is None:
            return None
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
            result[item[0]] = decode(item[1], tensors)
        return result
    raise ValueError(f"unknown object {kind!r}: {str(content)[:40]}")


def manifest_of(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of a checkpoint, by name.

    Raises:
        Damaged: there is no checkpoint, or its manifest is none.
    """
    if not path.is_dir():
        raise Damaged(f"{path}: no such checkpoint")
    manifest = parse_json(path / MANIFEST, read_file(path / MANIFEST))
    if not isinstance(manifest, dict) or STATE not in manifest:
        raise Damaged(f"{path / MANIFEST}: not the manifest of a checkpoint")
    for name, digest in manifest.items():
        if not (PART.fullmatch(name) or _SHARD.fullmatch(name)) or name == MANIFEST or not isinstance(digest, str):
            raise Damaged(f"{path / MANIFEST}: {name[:80]!r} is not a file of a checkpoint")
    return manifest


def read_file(file: Path) -> bytes:
    """The content of a file of a checkpoint.

    Raises:
        Damaged: the file is missing.
        UserError: it cannot be read.
    """
    try:
        if not file.is_file():
            raise Damaged(f"{file}: missing, so the checkpoint is not whole")
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error


def sha256_of_file(file: Path) -> str:
    """The digest of a file's content, which is not kept in memory.

    Raises:
        Damaged: the file is missing.
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if not file.is_file():
            raise Damaged(f"{file}: missing, so the checkpoint is not whole")
        with file.open("rb") as stream:
            while piece := stream.read(_CHUNK):
                digest.update(piece)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def parse_json(file: Path, content: bytes) -> Any:
    """The value of a JSON file.

    Raises:
        Damaged: the content is not JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{file}: not valid JSON: {error}") from error


def sha256(*pieces: Piece) -> str:
    """The digest of a content, which may come in pieces, as manifests have it."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
