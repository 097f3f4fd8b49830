"""Random numbers that are a function of latent vectors.

A generator that draws noise by these functions is a function of its latent vectors alone. Training therefore depends
neither on the number of processes and micro-batches nor on how often an oracle evaluates a batch, and no random state
has to be kept. The numbers are counter-based: each is a hash of the latent vector and of its own place.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF  # numbers of 32 bits, kept in int64, which torch can multiply and shift everywhere
_PER_STREAM = 1 << 25  # numbers that a stream has room for; there are 128 streams


def keys(z: Tensor) -> Tensor:
    """Hashes of latent vectors: ``(n, features)`` to ``(n, 2)`` whole numbers of 32 bits."""
    found: Tensor = _plain_or(_keys, _hashes)(z.detach())
    return found


def uniform(keys: Tensor, stream: int, count: int) -> Tensor:
    """``(n, count)`` numbers uniform in [0, 1], in single precision.

    Args:
        keys: ``(n, 2)``, as :func:`keys` returns them.
        stream: the number of the stream, below 128; streams are independent of each other.
        count: how many numbers each row gets.
    """
    return _fractions(_numbers(keys, stream, count, 0))


def normal(keys: Tensor, stream: int, count: int) -> Tensor:
    """``(n, count)`` standard normal numbers, in single precision, by the method of Box and Muller.

    Args:
        keys: ``(n, 2)``, as :func:`keys` returns them.
        stream: the number of the stream, below 128; streams are independent of each other.
        count: how many numbers each row gets.
    """
    radius, angle = (_fractions(_numbers(keys, stream, count, half)) for half in (0, 1))
    return (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()


def _fractions(words: Tensor) -> Tensor:
    return (words.float() + 0.5) * 2.0**-32


def _hashed(x: Tensor) -> Tensor:
    """A bijection of the numbers of 32 bits in which each bit of the input changes about half of the output's bits."""
    for shift, factor in ((17, 0x6D5AD4BB), (11, 0x2C4C1B51), (15, 0x31848BAB)):
        x = (x ^ (x >> shift)) * factor & _WORD  # the factors have 31 bits, so that no product overflows
    return x ^ (x >> 14)


def _numbers(keys: Tensor, stream: int, count: int, half: int) -> Tensor:
    found: Tensor = _plain_or(_words, _counted)(keys, stream, count, half)
    return found


def _plain_or(operation: Callable[..., Tensor], plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The operation, or in a graph that is exported, and runs where there is no gantrain, what it consists of."""
    return plain if torch.compiler.is_exporting() else operation


def _hashes(z: Tensor) -> Tensor:
    bits = z.float().view(torch.int32).to(torch.int64) & _WORD
    place = _hashed(torch.arange(z.shape[1], device=z.device))
    words = _hashed(bits ^ place)
    sums = torch.stack([words.sum(dim=1), _hashed(words).sum(dim=1)], dim=1) & _WORD
    return _hashed(sums)


def _counted(keys: Tensor, stream: int, count: int, half: int) -> Tensor:
    counter = torch.arange(count, device=keys.device) + stream * _PER_STREAM
    mixed = _hashed(_hashed(counter) ^ keys[:, half, None])
    return _hashed((mixed + keys[:, 1 - half, None]) & _WORD)


# To torch's compiler these two are single operations: it would write out each value of a hash as often as it is used.
_keys = torch.library.custom_op("gantrain::latent_keys", _hashes, mutates_args=(), schema="(Tensor z) -> Tensor")
_words = torch.library.custom_op(
    "gantrain::latent_words",
    _counted,
    mutates_args=(),
    schema="(Tensor keys, int stream, int count, int half) -> Tensor",
)


@_keys.register_fake
def _(z: Tensor) -> Tensor:
    return z.new_empty((z.shape[0], 2), dtype=torch.int64)


@_words.register_fake
def _(keys: Tensor, stream: int, count: int, half: int) -> Tensor:
    return keys.new_empty((keys.shape[0], count))
