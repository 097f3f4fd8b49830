"""Weights of a checkpoint put into a network, once they are known to be of that network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gantrain.errors import UserError

_ADVICE = (
    "the checkpoint is of another network; take the config and the code that it was trained with, or train another run "
    "(run.name=NEW)"
)


def part_of(state: dict[str, Any], name: str, folder: Path) -> Any:
    """A part of a checkpoint's state.

    Raises:
        UserError: the checkpoint has no such part.
    """
    if name not in state:
        raise UserError(f"{folder}: expected a part {name}, found {', '.join(state)}; {_ADVICE}")
    return state[name]


def restore(module: nn.Module, state: dict[str, Any], name: str, folder: Path) -> None:
    """Load the part ``name`` of a checkpoint's state into ``module``, which stays as it is if that is impossible.

    Args:
        module: a network.
        state: of the checkpoint.
        name: of the part: a player.
        folder: of the checkpoint, for messages.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape. The first one is named.
    """
    saved: dict[str, Tensor] = part_of(state, name, folder)
    own = module.state_dict()
    wrong = [key for key in (*own, *saved) if key not in saved or key not in own or own[key].shape != saved[key].shape]
    if wrong:
        key, more = wrong[0], len(set(wrong)) - 1
        there, here = (f"has the shape {tuple(t[key].shape)}" if key in t else "is missing" for t in (saved, own))
        others = f" ({more} other{'s' if more > 1 else ''} differ{'s' if more == 1 else ''} as well)" if more else ""
        raise UserError(f"{folder}/{name}.safetensors: {key} {there}, and in the network it {here}{others}; {_ADVICE}")
    module.load_state_dict(saved)
