"""The state of a checkpoint reaches all processes as it is, and each host has it in memory once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from forked import place_on_host, together
from tiny import RING, config_of, same, state

from gantrain.commands.train import train
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.runs.handing_over import Handed, hand_over

STATE = {
    "a": {"w": torch.arange(6.0).reshape(2, 3).T, 3: [torch.tensor(2**40), torch.zeros(0, 3)], "none": None},
    "b": {"half": torch.ones(3, dtype=torch.bfloat16), "yes": torch.tensor([True, False]), "inf": float("inf")},
    "clock": {"step": 3, "betas": (0.0, 0.9)},
}


def handed_on(local_world: int) -> dict:
    """What a process gets, twice in a row, what it has in shared memory, and the bytes that it sends or receives."""
    place_on_host(local_world)
    with process_group(cpu=True):
        processes = Processes.launched()
        first = processes.rank == 0
        sizes, broadcast = [], dist.broadcast
        dist.broadcast = lambda t, *a, **k: (sizes.append((t.nbytes, k.get("group"))), broadcast(t, *a, **k))[1]
        found = hand_over(STATE if first else None, processes)
        dist.broadcast = broadcast
        nothing = hand_over(None, processes)
        if isinstance(found, Handed):
            found["a"]["w"].zero_()  # of a copy
        return {
            "found": dict(found),
            "nothing": nothing,
            "shared": isinstance(found, Handed),
            "between hosts": sum(size for size, group in sizes if group is not None),
        }


@pytest.mark.parametrize("local_world", [1, 2, 4])
def test_the_state_reaches_all_processes_as_it_is(local_world):
    found = together(handed_on, local_world, world=4)
    for each in found:
        assert same(each["found"], STATE) and each["nothing"] is None
        assert each["shared"] == (local_world > 1)
    received = [each["between hosts"] > 0 for each in found]
    assert received == {1: [False] * 4, 2: [True, False, True, False], 4: [False] * 4}[local_world]


def resumed(folder: str, local_world: int) -> None:
    place_on_host(local_world)
    train(config_of(RING, Path(folder), "run.steps=8"), resume=True)


@pytest.mark.slow
def test_a_run_that_hosts_resume_from_shared_memory_goes_on_as_before(tmp_path):
    """Each process goes on with optimizers of its own: their steps are not counted once for each process."""
    found: list[Mapping] = []
    for name, local_world in (("alone", 1), ("shared", 2)):
        train(config_of(RING, tmp_path / name, "run.steps=4"))
        together(resumed, str(tmp_path / name), local_world, world=2)
        found.append(state(tmp_path / name / "ring"))
    alone, shared = found
    for part in alone.keys() - {"data", "clock"}:
        assert same(shared[part], alone[part]), part
    assert isinstance(alone["generator"], dict) and any(
        isinstance(t, torch.Tensor) for t in alone["generator"].values()
    )
