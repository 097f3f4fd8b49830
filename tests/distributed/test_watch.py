"""A process that is lost while the others wait for their GPUs, with real processes; what waits is a stand-in.

The watch is the one of runs on GPUs. An event stands for the GPU: the program waits for it until communication is
aborted, as a kernel of NCCL does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
import torch.distributed as dist
from forked import SECONDS, hosts, together, until

from gantrain.distributed import rendezvous, watch
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError

HERE = socket.gethostname()
TIMEOUT = 4
_back = threading.Event()


def joined(folder: str, arguments: tuple[str, ...], files: list[str], environment: dict[str, str]) -> None:
    """Join the others as a run on GPUs does, and let the first process wait for its GPU until something is wrong."""
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY), descriptor)
    os.environ |= environment
    rendezvous._BACKENDS = "gloo"
    (fault,) = arguments
    real = dist.distributed_c10d._abort_process_group

    def abort() -> None:
        real()
        if fault != "kill, for good":
            _back.set()

    dist.distributed_c10d._abort_process_group = abort
    watch._GRACE = 0.5 if fault == "kill, for good" else SECONDS
    try:
        with process_group(cpu=False, timeout=TIMEOUT):
            processes = Processes.launched()
            if processes.rank == 1:
                Path(folder, "joined").touch()
                if fault == "error":
                    raise KeyError("the disk is full")
                if fault == "leaves":
                    return
            if fault == "leaves":
                watch._watches[0]._thread.join(SECONDS)  # until the other has left
                processes.world_size = 1  # what is left to do, it does alone
                with processes.raise_on_all():
                    print("went on")
                return
            _back.wait(SECONDS)
            # The program has come back from the GPU with numbers that mean nothing.
            with processes.raise_on_all():
                print("a checkpoint")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def faced(folder: Path, fault: str) -> tuple[int, str, str]:
    """The exit code, the output and the errors of the first of two processes, the second of which meets a fault."""
    folder.mkdir(exist_ok=True)
    first, second = hosts([folder] * 2, fault, target=joined)
    until(lambda: (folder / "joined").exists() or not second.running())
    if fault.startswith("kill"):
        second.kill()
    if fault == "stop":
        second.kill(signal.SIGSTOP)
    code = first.wait()
    if fault == "stop":
        second.kill()
    return code, first.output, first.errors


ENDED = f"process 0 on {HERE}: process 1 on {HERE} has ended ("


def test_a_process_that_is_killed_brings_the_others_back_from_their_gpus(tmp_path):
    code, output, errors = faced(tmp_path, "kill")
    assert code == 2 and output == "" and errors.startswith(ENDED) and errors.endswith("); go on with --resume\n")


@pytest.mark.slow
def test_a_process_that_is_stopped_brings_them_back_within_the_timeout(tmp_path):
    code, output, errors = faced(tmp_path, "stop")
    said = f"process 0 on {HERE}: process 1 on {HERE} did not answer for 3.6 s; go on with --resume, or wait longer"
    assert code == 2 and output == "" and errors.startswith(said) and errors.count("\n") == 1


@pytest.mark.slow
def test_the_error_of_one_process_is_that_of_those_that_wait_for_their_gpus(tmp_path):
    assert faced(tmp_path, "error") == (2, "", f"process 1 on {HERE}: KeyError: 'the disk is full'\n")


@pytest.mark.slow
def test_a_program_that_does_not_come_back_is_ended_with_a_line(tmp_path):
    code, output, errors = faced(tmp_path, "kill, for good")
    assert code == 2 and output == "" and errors.startswith(f"gantrain: {ENDED}") and errors.count("\n") == 1


@pytest.mark.slow
def test_a_process_that_is_done_disturbs_nobody(tmp_path):
    assert faced(tmp_path, "leaves") == (0, "went on\n", "")


def parted(error: type[BaseException] | None) -> list[str]:
    """How each process ends its communication if both leave in order, or with an error of their own."""
    calls = []
    for module, name in ((dist, "destroy_process_group"), (dist.distributed_c10d, "_abort_process_group")):
        real = getattr(module, name)
        setattr(module, name, lambda real=real, name=name: (calls.append(name), real()))
    try:
        with process_group(cpu=True):
            if error is not None:
                raise error("the disk is full")
    except BaseException:
        pass
    assert not dist.is_initialized()
    return calls


def test_after_an_error_communication_is_aborted_and_never_ended_politely():
    assert together(parted, None) == [["destroy_process_group"]] * 2
    assert together(parted, SystemExit) == [["destroy_process_group"]] * 2
    assert together(parted, KeyError) == [["_abort_process_group"]] * 2


def test_nothing_is_watched_on_cpus():
    assert together(threads) == [[], []]


def threads() -> list[str]:
    with process_group(cpu=True):
        return [type(each).__name__ for each in watch._watches]
