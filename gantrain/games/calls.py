"""Calls of networks and augmentations: a user's own may take labels or not, and may return anything."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from gantrain.config.user_code import UserCode, name_of
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.errors import UserError
from gantrain.games.checks import require_augmented, require_output


def output_of(
    network: nn.Module,
    x: Tensor,
    labels: Tensor | None,
    key: str,
    shape: tuple[int | None, ...] | None,
    what: str,
    advice: str = "",
) -> Tensor:
    """The output of a network, if it is a tensor of floating-point numbers of the right shape.

    Without labels, a network is called with ``x`` alone, or with ``x`` and None if its ``forward`` requires labels, see
    :func:`called`.

    Args:
        network: the network.
        x: its input, ``(n, *any)``.
        labels: ``(n,)``, the class indices that the network is told; None for none.
        key: the network's key in a config, for messages.
        shape: the shape of one output; in it None stands for any size, and in its place for any shape.
        what: what the output should be, as a message says it.
        advice: what else may be done if the network takes no labels, for the message.

    Raises:
        UserError: the network raises an error or returns something else, or takes no labels and there are some.
    """
    accepted, required = _labels_of(type(network).forward)
    if labels is not None and not accepted:
        raise UserError(
            f"{key}: {name_of(network)}.forward takes no labels, and this game gives some; expected "
            f"forward(x, labels){advice}"
        )
    untold = "labels is None here, as the game gives this network none; in a gan set game.conditional: true"
    with UserCode(key, network, untold if required and labels is None else ""):
        output = called(network, x, labels)
    shape = tuple(getattr(output, "shape", ()))[1:] if shape is None else shape
    return require_output(output, (x.shape[0], *shape), x, key, network, what)


def called(network: nn.Module, x: Tensor, labels: Tensor | None) -> Any:
    """What a network returns for ``x``, which is called with labels if there are some or ``forward`` requires them."""
    _, required = _labels_of(type(network).forward)
    return network(x, labels) if required or labels is not None else network(x)


def augmented(samples: Tensor, augmentations: Sequence[Augmentation], batch: Batch) -> Tensor:
    """The samples after the augmentations of a game, which draw their random numbers from the batch.

    Raises:
        UserError: an augmentation raises an error, or returns something else than such samples.
    """
    for i, augmentation in enumerate(augmentations):
        key = f"game.augmentations.{i}"
        with UserCode(key, augmentation):
            changed = augmentation(samples, batch)
        samples = require_augmented(changed, samples, key, augmentation)
    return samples


@functools.cache
def _labels_of(forward: Callable[..., Any]) -> tuple[bool, bool]:
    """Whether the ``forward`` of a class of networks has a second argument by position, and whether it needs it."""
    _, *arguments = inspect.signature(forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in arguments):
        return True, False
    second = [p for p in arguments if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][1:2]
    return bool(second), bool(second) and second[0].default is inspect.Parameter.empty
