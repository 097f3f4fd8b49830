"""How far a program runs ahead of its device, and that it hears signals while the device stands still."""

from __future__ import annotations

import signal

import pytest
import torch
from emulated_device import counted, emulated, stands_still
from tiny import RING, config_of

from gantrain.commands.train import make_trainer
from gantrain.compute.pace import Pace

CPU = torch.device("cpu")


class Enough(Exception):
    pass


def nothing(_: float) -> None:
    pass


def test_a_program_is_at_most_four_steps_ahead_of_its_device():
    waited = []

    def enough(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise Enough

    with emulated() as device, stands_still():
        pace = Pace(device, enough)
        for _ in range(4):
            pace.step()
        assert waited == []
        with pytest.raises(Enough):
            pace.step()
    assert len(waited) == 3 and 0 <= waited[0] < waited[1] < waited[2]


def test_the_program_goes_on_when_the_device_has_caught_up_and_waits_for_it_without_a_wait_of_torchs():
    with emulated() as device, counted() as counts:
        pace = Pace(device, nothing)
        with stands_still():
            for _ in range(4):
                pace.step()
        for _ in range(10):
            pace.step()
        pace.settle()
        assert not pace._steps
    assert not counts.waits and not counts.launches


def test_a_cpu_has_nothing_to_wait_for():
    pace = Pace(CPU, nothing)
    for _ in range(10):
        pace.step()
    assert not pace._steps


def test_a_signal_is_handled_while_the_device_stands_still():
    def handle(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with emulated() as device, stands_still():
            pace = Pace(device, nothing)
            pace.step()
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            with pytest.raises(Enough):
                pace.settle()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_run_takes_no_more_than_four_steps_on_a_device_that_stands_still(tmp_path, monkeypatch):
    """And then ends with the error of a process that is lost."""
    asked = []

    def lost(seconds: float = 0.0) -> None:
        if seconds > 0.05:
            asked.append(seconds)
            raise RuntimeError("a process is lost")

    monkeypatch.setattr("gantrain.train.trainer.require_others", lost)
    with emulated() as device:
        trainer = make_trainer(config_of(RING, tmp_path, "log.every=100"), device)
        with stands_still(), pytest.raises(RuntimeError, match="a process is lost"):
            trainer.fit()
    assert trainer.step == 5 and len(asked) == 1
