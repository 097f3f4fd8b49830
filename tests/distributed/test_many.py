"""Many processes: few connections, few messages, one error for all, and the run of one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from forked import together, until
from tiny import RING, config_of, rows, state

from gantrain.commands.train import make_trainer, train
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.train.trainer import Trainer

MANY = 16
# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
SHORT = ("ema=null", "run.steps=6", *SGD)


def connections() -> int:
    """The TCP connections of this process to others, but for those of the store at which all have met."""
    port = int(os.environ["MASTER_PORT"])
    found = psutil.Process().net_connections("tcp")
    return sum(c.status == "ESTABLISHED" and port not in (c.laddr.port, c.raddr.port) for c in found)


def met(processes: Processes, where: str) -> None:
    """Wait for all processes over the store: who still counts must not be connected to."""
    processes.post(f"{where} {processes.rank}")
    until(lambda: all(processes.posted(f"{where} {rank}") for rank in range(processes.world_size)))


def exchanged() -> dict:
    with process_group(cpu=True):
        processes = Processes.launched()
        found = {}
        messages = []
        send, receive = dist.send, dist.recv
        dist.send = lambda *a: (messages.append("sent"), send(*a))[1]
        dist.recv = lambda *a: (messages.append("received"), receive(*a))[1]
        found["maxima"] = processes.all_reduce_max(processes.rank % 11, -processes.rank)
        dist.send, dist.recv = send, receive
        found["messages"] = messages
        met(processes, "exchanged")
        found["of a tree"] = connections()
        processes.divide(4)
        with processes.within(4):
            found["with groups"] = connections()
        met(processes, "counted again")
        means = processes.begin_exchange([[torch.full((3,), float(processes.role(4)))]] * 4)()
        found["roles"] = [float(mean[0]) for (mean,) in means]
        try:
            with processes.raise_on_all():
                if processes.rank == processes.world_size - 3:
                    raise UserError("the disk is full")
        except UserError as error:
            found["said"] = str(error)
        return found


@pytest.mark.parametrize("world", [4, pytest.param(MANY, marks=pytest.mark.slow)])
def test_groups_open_no_connection_until_two_processes_exchange_something(world):
    found = together(exchanged, world=world)
    assert all(each["of a tree"] == each["with groups"] for each in found)
    assert sum(each["of a tree"] for each in found) < world * (world - 1)
    assert all(each["maxima"] == [min(world - 1, 10), 0.0] for each in found)
    assert all(len(each["messages"]) <= 3 for each in found)
    assert sum(len(each["messages"]) for each in found) == 2 * (world - 1)
    assert all(each["roles"] == [0.0, 1.0, 2.0, 3.0] for each in found)
    (said,) = {each["said"] for each in found}
    assert said.startswith(f"process {world - 3} on ") and said.endswith(": the disk is full")


def trained(folder: str, *overrides: str, resume: bool = False) -> None:
    train(config_of(RING, Path(folder), *SHORT, *overrides), resume=resume)


@pytest.mark.slow
def test_a_run_of_sixteen_is_the_run_of_one_and_goes_on_with_four(tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    train(config_of(RING, one, *SHORT, "run.steps=12"))
    together(trained, str(many), world=MANY)
    assert checkpoint.newest(many / "ring").name == "step_6"
    together(resumed, str(many), world=4)
    many, one = many / "ring", one / "ring"
    assert [row["step"] for row in rows(many)] == [row["step"] for row in rows(one)]
    found, expected = state(many), state(one)
    for player in ("generator", "discriminator"):
        torch.testing.assert_close(found[player], expected[player])


def resumed(folder: str) -> None:
    trained(folder, "run.steps=12", resume=True)


@pytest.mark.slow
def test_a_signal_to_one_of_sixteen_stops_all_at_one_step(tmp_path):
    codes = together(stopped, str(tmp_path), world=MANY)
    assert codes == [128 + signal.SIGTERM] * MANY
    assert checkpoint.newest(tmp_path / "ring") is not None


def stopped(folder: str) -> int:
    class Told(Trainer):
        def train_step(self, observe: bool = False) -> None:
            super().train_step(observe)
            if self.step == 3 and self.processes.rank == 13:
                signal.raise_signal(signal.SIGTERM)

    config = config_of(RING, Path(folder), *SHORT, "run.steps=100000")
    with process_group(cpu=True) as here, pytest.raises(SystemExit) as stop:
        make_trainer(config, here.device, Told).fit()
    return stop.value.code
