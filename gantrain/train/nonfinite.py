"""Numbers that are not finite: in the state of a run, which is then never written, and in its data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gantrain.data.batch import Batches
from gantrain.data.dataset import Samples
from gantrain.errors import UserError
from gantrain.utils.shards import local

# Samples that are looked at together.
_CHUNK = 1000


@torch.no_grad()
def not_finite(state: Mapping[str, Any]) -> dict[str, float]:
    """The tensors that hold NaN or infinity, by their paths in nested dicts and lists, with their largest moduli.

    Of what is sharded this process looks at its own shards.
    """
    tensors = dict(_tensors(state, ()))
    tensors = dict(zip(tensors, local(list(tensors.values())), strict=True))
    tensors = {path: t for path, t in tensors.items() if t.is_floating_point() and t.numel()}
    largest: dict[str, Tensor] = {}
    for device in {t.device for t in tensors.values()}:
        here = {path: t for path, t in tensors.items() if t.device == device}
        # The Euclidean norm is found fastest; where it is not finite, its square may only have been too large.
        suspects = {path: here[path] for path, norm in _norms(here, 2).items() if not norm.isfinite()}
        largest |= {path: norm for path, norm in _norms(suspects, math.inf).items() if not norm.isfinite()}
    return {path: float(largest[path]) for path in tensors if path in largest}


def _norms(tensors: Mapping[str, Tensor], order: float) -> dict[str, Tensor]:
    """The norms of tensors of one device, on the CPU; they are fetched together."""
    if not tensors:
        return {}
    norms = torch._foreach_norm(list(tensors.values()), order)
    return dict(zip(tensors, torch.stack([n.double() for n in norms]).cpu(), strict=True))


def require_finite_samples(samples: Samples) -> None:
    """Refuse samples in memory that hold NaN or infinity.

    Raises:
        UserError: the message names the first such sample.
    """
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        return
    for number, chunk in enumerate(samples.split(_CHUNK)):
        row = _first_not_finite(chunk)
        if row is not None:
            raise _bad_sample(number * _CHUNK + row)


def require_finite_batches(batches: Batches, draws: Iterable[int]) -> None:
    """Refuse draws in which a sample holds NaN or infinity, after the training has left the finite numbers.

    Raises:
        UserError: the message names the first such sample.
    """
    for draw in draws:
        row = _first_not_finite(batches(draw, None).real)
        if row is not None:
            raise _bad_sample(int(batches.rows(draw)[row]))


def _first_not_finite(samples: Tensor) -> int | None:
    if not samples.is_floating_point() or not samples.numel():
        return None
    bad = ~samples.flatten(1).isfinite().all(1) if samples.ndim > 1 else ~samples.isfinite()
    return int(bad.nonzero()[0]) if bad.any() else None


def _bad_sample(number: int) -> UserError:
    return UserError(
        f"data: sample {number} (counted from 0) holds NaN or infinity; mend it or leave it out: this is no divergence"
    )


def _tensors(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield ".".join(path), tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, (*path, str(key)))
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from _tensors(value, (*path, str(number)))
