"""Checks of what networks, losses and penalties return: a user's own may return anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gantrain.config.user_code import described, name_of
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError


def require_output(value: Any, shape: tuple[int | None, ...], like: Tensor, key: str, part: Any, what: str) -> Tensor:
    """The output of a network, if it is a tensor of floating-point numbers of the right shape.

    Args:
        value: what the network returned.
        shape: the shape that is expected; None stands for any size.
        like: the input of the network, on whose device the output must be.
        key: the network's key in a config, for the message.
        part: the network.
        what: what the output should be, as the message says it.

    Raises:
        UserError: the output is something else.
    """
    if not isinstance(value, Tensor):
        raise UserError(f"{key}: {name_of(part)}: expected {what}, got {described(value)}")
    if value.shape == shape and value.is_floating_point() and value.device == like.device:
        return value
    found = tuple(value.shape)
    fits = len(found) == len(shape) and all(s is None or s == f for s, f in zip(shape, found, strict=True))
    if not fits or not value.is_floating_point() or value.device != like.device:
        wanted = f"shape ({', '.join('any' if s is None else str(s) for s in shape)}{',' * (len(shape) == 1)})"
        raise UserError(
            f"{key}: {name_of(part)}: expected {what}, {wanted}, floating-point and on {like.device}, "
            f"got {described(value)}"
        )
    return value


def require_classes(spec: DataSpec, game: str) -> None:
    """Refuse data whose labels are not classes.

    Args:
        spec: the spec of the data.
        game: the name of the game that needs classes, for the message.

    Raises:
        UserError: the data have no labels, or labels that are numbers.
    """
    if not spec.classes:
        raise UserError(f"game: {game} needs labels, and these data have none; choose labelled data")
    if spec.numeric:
        raise UserError(
            f"game: {game} needs classes, and the labels of these data are numbers; use the game regression"
        )


def require_augmented(value: Any, samples: Tensor, key: str, part: Any) -> Tensor:
    """What an augmentation made of samples, if it is of the same shape and device, and of the same kind of numbers.

    Numbers of another precision, as convolutions give them in bf16, get that of the samples.

    Raises:
        UserError: it is something else, or it does not depend on samples that are differentiated.
    """
    same = isinstance(value, Tensor) and value.shape == samples.shape and value.device == samples.device
    if not same or value.is_floating_point() != samples.is_floating_point() or value.is_complex():
        raise UserError(
            f"{key}: {name_of(part)}: expected samples like those it was given, {described(samples)}, "
            f"got {described(value)}"
        )
    if samples.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
        raise UserError(
            f"{key}: {name_of(part)}: expected samples that can be differentiated in those it was given, since a "
            "generator learns through them; do without detach, no_grad and numpy"
        )
    return value.to(samples.dtype)


def require_scalar(value: Any, like: Tensor, key: str, part: Any, method: str = "") -> Tensor:
    """The value of a loss or of a penalty, if it is a tensor with one real number that can be differentiated.

    Args:
        value: what was returned.
        like: a tensor on the device on which the value must be.
        key: the part's key in a config, for the message.
        part: the part.
        method: the method of the part that returned the value, for the message.

    Raises:
        UserError: it is something else, or was detached while gradients are taken.
    """
    real = isinstance(value, Tensor) and value.is_floating_point()
    if not real or value.numel() != 1 or value.device != like.device:
        who = f"{key}: {name_of(part)}{'.' * bool(method)}{method}"
        raise UserError(f"{who}: expected a scalar, a real tensor of shape () on {like.device}, got {described(value)}")
    return require_gradient(value, key, part, method)


def require_gradient(value: Tensor, key: str, part: Any, method: str = "") -> Tensor:
    """A value that depends on parameters; while no gradients are taken, any value.

    Raises:
        UserError: gradients are taken, and the value was detached.
    """
    if torch.is_grad_enabled() and not value.requires_grad:
        raise UserError(
            f"{key}: {name_of(part)}{'.' * bool(method)}{method}: what it returns does not depend on any parameter, so "
            "there is no gradient; leave out detach(), item(), no_grad() and conversions to NumPy"
        )
    return value


def require_margins(value: Any, key: str, part: Any) -> tuple[Tensor, Tensor]:
    """The logits and targets of the classification that belongs to a loss.

    Raises:
        UserError: it is something else.
    """
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, Tensor) for v in value)
    if not pair or len(value[0]) != len(value[1]):
        raise UserError(
            f"{key}: {name_of(part)}: expected margins as a pair (logits, targets) of the same length, or None, "
            f"got {described(value)}"
        )
    logits, targets = value
    return logits, targets
