"""Randomness as a function of ``(seed, stream, step)``, never of how the process got there."""

from __future__ import annotations

from hashlib import blake2b

import torch


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed for one draw: the BLAKE2b digest of its coordinates.

    Args:
        seed: the run's seed.
        stream: what the draw is for, such as "latent"; streams are independent of each other.
        step: the counter within the stream.
    """
    digest = blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A CPU generator at the start of the draw ``(seed, stream, step)``.

    It is on the CPU on every machine, so that the numbers do not depend on the device that uses them.
    """
    return torch.Generator().manual_seed(derive(seed, stream, step))
