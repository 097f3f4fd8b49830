"""Loading the weights of a checkpoint into a network, which must be the network that they were saved from."""

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
    """The part ``name`` of the state of the checkpoint in ``folder``.

    Raises:
        UserError: the checkpoint has no such part.
    """
    if name not in state:
        raise UserError(f"{folder}: expected a part {name}, found {', '.join(state)}; {_ADVICE}")
    return state[name]


def restore(module: nn.Module, state: dict[str, Any], name: str, folder: Path) -> None:
    """Load the part ``name`` of a checkpoint's state into ``module``; nothing is loaded if a tensor does not fit.

    Args:
        module: a network.
        state: the state of the checkpoint.
        name: the name of the part: that of a player.
        folder: the folder of the checkpoint, which messages name.

    Raises:
        UserError: a tensor is missing, unknown, or has another shape. The message names the first such tensor.
    """
    saved: dict[str, Tensor] = part_of(state, name, folder)
    own = module.state_dict()
    wrong = [key for key in (*own, *saved) if key not in saved or key not in own or own[key].shape != saved[key].shape]
    if wrong:
        key, more = wrong[0], len(set(wrong)) - 1
        in_checkpoint, in_network = (
            f"has the shape {tuple(t[key].shape)}" if key in t else "is missing" for t in (saved, own)
        )
        others = f" ({more} other{'s' if more > 1 else ''} differ{'s' if more == 1 else ''} as well)" if more else ""
        raise UserError(
            f"{folder}/{name}.safetensors: {key} {in_checkpoint}, and in the network it {in_network}{others}; {_ADVICE}"
        )
    module.load_state_dict(saved)
