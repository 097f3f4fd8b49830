"""The weights of a network as safetensors, with a description by which gantrain builds the network again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from gantrain.builders import game_of
from gantrain.config.loading import resolved
from gantrain.config.parts import checked
from gantrain.config.paths import nothing_at
from gantrain.config.targets import foreign_targets
from gantrain.config.types import shown
from gantrain.data.spec import DataSpec
from gantrain.errors import NotFound, UserError
from gantrain.exporting.function import Function
from gantrain.runs.saved import SavedRun
from gantrain.utils.io import open_regular

KEY = "gantrain"
"""The key of the file's metadata whose value is the description."""


def write(function: Function, saved: SavedRun) -> bytes:
    """The content of the file."""
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in saved.network.state_dict().items()}
    about = function.about | {"spec": asdict(saved.spec), "game": resolved(saved.settings)["game"]}
    return safetensors.torch.save(tensors, metadata={KEY: json.dumps(about)})


def read(content: bytes, function: Function, saved: SavedRun) -> Callable[[Sequence[Tensor]], Tensor]:
    """The function of the file: that of the run, with the network which is built from the file."""
    # The run was opened, so that its code is trusted.
    module = function.of(_network(content, "the file", trust=True))
    return lambda inputs: module(*inputs)


def load_network(path: str | Path, *, trust: bool = False, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a file that ``gantrain export --to safetensors`` wrote; the run need not be there.

    Args:
        path: the file.
        trust: whether code outside gantrain that the file names is executed.
        device: where the network is put.

    Returns:
        The network in evaluation mode: ``network(z)`` or ``network(z, labels)`` of a generator, ``network(samples)`` of
        a classifier.

    Raises:
        UserError: there is no such file, or it is of another kind; it names code outside gantrain and is not trusted;
            it belongs to a network of another version.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            content = file.read()
    except FileNotFoundError:
        raise NotFound(f"{path}: {nothing_at(path)}; expected a file of gantrain export --to safetensors") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _network(content, str(path), trust).to(device)


def _network(content: bytes, name: str, trust: bool) -> nn.Module:
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about: dict[str, Any] = json.loads(header["__metadata__"][KEY])
        spec = DataSpec(**about["spec"] | {"shape": tuple(about["spec"]["shape"])})
        game = about["game"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: is no file of gantrain export --to safetensors, or is damaged ({reason:.100}); export it again"
        ) from None
    foreign = foreign_targets(game, ("game",))
    if foreign and not trust:
        named = ", ".join(f"{shown(key)[1:-1]}: {shown(target)}" for key, target in foreign.items())
        raise UserError(
            f"{name}: names code outside gantrain, which would be executed: {named}; read it, then pass trust=True"
        )
    network = game_of(checked("game", game), 0, spec, saved=True).evaluated_network
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: its weights are not those of the network that it describes ({reason:.200}); take the code that "
            "it was exported with, or export it again"
        ) from None
    return network.eval()
