"""Reading of named tensors that torch.save wrote."""

from __future__ import annotations

import io
import pickle

import torch
from torch import Tensor

from gantrain.errors import UserError


def state_dict(content: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a file that torch.save wrote; no code in it is executed.

    Args:
        content: the bytes of the file.
        where: the name of the file in messages.

    Raises:
        UserError: the file holds something else than named tensors.
    """
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{where}: holds more than tensors and could run code, so it is not opened") from error
    except Exception as error:
        raise UserError(f"{where}: not a file of weights ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise UserError(f"{where}: expected a state dict, names with tensors")
    return tensors
