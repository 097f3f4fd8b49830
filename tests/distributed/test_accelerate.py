"""Accelerate's state beside gantrain's groups, and groups that it does not know."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from accelerate import PartialState
from forked import together

from gantrain.distributed.environment import LAUNCHER
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError


def made_by_hand(known: bool) -> str:
    """What a process says that has made its group itself, with or without the launcher's variables."""
    place = {name: os.environ.pop(name) for name in LAUNCHER if name in os.environ}
    if known:
        os.environ |= place
    where = f"tcp://{place['MASTER_ADDR']}:{place['MASTER_PORT']}"
    dist.init_process_group("gloo", where, rank=int(place["RANK"]), world_size=int(place["WORLD_SIZE"]))
    try:
        return str(Processes.launched().gather(int(place["RANK"])))
    except UserError as error:
        return str(error)
    finally:
        dist.destroy_process_group()


def test_a_group_of_the_users_own_must_be_known_to_accelerate():
    assert together(made_by_hand, True) == ["[0, 1]"] * 2
    for said in together(made_by_hand, False):
        assert said.startswith(
            "torch.distributed has 2 processes, and Accelerate 1; set RANK, WORLD_SIZE, LOCAL_RANK, "
        )


def test_a_state_of_accelerates_that_was_there_before_stays_as_it_was():
    state = PartialState()
    state.device, before = torch.device("meta"), state.device
    try:
        with process_group(cpu=True) as inside:
            assert inside.device == torch.device("cpu") and PartialState().device == inside.device
        assert PartialState().device == torch.device("meta")
    finally:
        state.device = before
