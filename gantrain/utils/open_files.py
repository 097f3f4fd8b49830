"""The system's limit of the files that a process may have open."""

from __future__ import annotations

import resource

import psutil


def affordable(wanted: int, each: int, spare: int) -> tuple[int, int]:
    """How many things the limit admits, up to a wanted number, and the limit, which is raised as far as it may be.

    Args:
        wanted: the number of things, such as worker processes.
        each: the files that this process opens for each of them.
        spare: the files that it may open for anything else.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds() + spare
    needed = used + each * wanted
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, soft
    return max(0, (soft - used) // each), soft
