"""Memory that is freed and taken again costs no page faults."""

import multiprocessing
import resource

import pytest
import torch

from gantrain.compute.allocator import keep_freed_memory

FORK = multiprocessing.get_context("fork")


def faults(kept, settings, answer):
    """In a process of its own: the page faults of a pass that takes 8 blocks of 8 MiB and frees them, after others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        done = keep_freed_memory(kept)
    torch.set_num_threads(1)
    # The process that was forked may have left gaps in the heap, into which blocks would come without a fault.
    gaps = [torch.empty(2 << 20) for _ in range(0 if kept else 64)]
    for _ in range(16):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(2 << 20) for _ in range(8)]
        del blocks
    del gaps
    answer.put((done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


def found(kept=True, **settings):
    answer = FORK.SimpleQueue()
    process = FORK.Process(target=faults, args=(kept, settings, answer))
    process.start()
    result = answer.get()
    process.join()
    return result


def test_memory_is_kept_unless_the_environment_says_otherwise():
    done, number = found()
    if not done:
        pytest.skip("this machine has no glibc")
    assert number < 400  # a block has 2048 pages
    assert not found(MALLOC_TRIM_THRESHOLD_="131072")[0]
    assert found(kept=False)[1] > 8 * 2048
