"""Random numbers as a function of ``(seed, stream, step)``, never of what the process drew before."""

from __future__ import annotations

from hashlib import blake2b

import torch


def derive(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed for one draw: the BLAKE2b digest of the draw's seed, stream and step.

    Args:
        seed: the run's seed.
        stream: the purpose of the draw, such as "latent"; different streams are independent of each other.
        step: the number of the draw within the stream.
    """
    digest = blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A random number generator seeded for the draw ``(seed, stream, step)``.

    The generator is on the CPU on every machine, so that its numbers do not depend on the device that uses them.
    """
    return torch.Generator().manual_seed(derive(seed, stream, step))
