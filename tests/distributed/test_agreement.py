"""What processes must have in common before a run begins: the software, a GPU each, and the first weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from forked import together
from tiny import DIGITS, config_of, same

from gantrain.commands.train import make_trainer
from gantrain.distributed import agreement
from gantrain.distributed.agreement import (
    require_agreement,
    require_own_gpus,
    require_own_local_ranks,
    require_same_software,
)
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError


@pytest.mark.parametrize(
    "gpus",
    [
        [("a", "GPU-1"), ("a", "GPU-2")],
        [("a", "GPU-1"), ("a", "GPU-2"), ("b", "GPU-1"), ("b", "GPU-2")],
        [None, None],
        [("a", "GPU-1")],
    ],
    ids=["one host", "two hosts", "CPUs", "alone"],
)
def test_each_process_may_have_a_gpu_of_its_own(gpus):
    require_own_gpus(gpus)


def test_two_processes_on_one_gpu_are_refused():
    host = [("a", "GPU-1"), ("b", "GPU-3"), ("b", "GPU-4"), ("b", "GPU-3")]
    message = (
        "^more processes than GPUs: processes 1 and 3 on b have the same GPU; start at most 2 on this host, or use"
    )
    with pytest.raises(UserError, match=message):
        require_own_gpus(host)


@pytest.mark.parametrize(
    "places",
    [
        [(0, 1)],
        [(0, 2), (1, 2)],
        [(0, 2), (0, 2), (1, 2), (1, 2)],
        [(0, 1), (0, 3), (1, 3), (2, 3), (0, 2), (1, 2)],
    ],
    ids=["alone", "one host", "two hosts in turns", "three hosts"],
)
def test_each_process_of_a_host_has_a_local_rank_of_its_own(places):
    require_own_local_ranks(places)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            [(0, 2), (0, 2)],
            "LOCAL_RANK=0 and LOCAL_WORLD_SIZE=2 are .* of process 0 and 1; .* from 0 to 1, as torchrun does",
        ),
        (
            [(0, 1), (0, 2), (1, 2), (1, 2), (0, 2), (1, 2)],
            "LOCAL_RANK=1 and LOCAL_WORLD_SIZE=2 are .* 2 and 3 and 5;",
        ),
        ([(0, 1), (0, 2)], "LOCAL_RANK=0 and LOCAL_WORLD_SIZE=2 are .* of process 1;"),
    ],
)
def test_a_local_rank_that_is_there_twice_is_refused(places, message):
    with pytest.raises(UserError, match=f"^{message}"):
        require_own_local_ranks(places)


def test_a_gpu_is_told_by_its_identity_and_not_by_its_number(monkeypatch):
    """Where each process sees one GPU, as under Slurm's --gpus-per-task=1, all have the number 0."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"GPU-{device.index}"))
    assert agreement._gpu(torch.device("cuda", 3))[1] == "GPU-3"
    assert agreement._gpu(torch.device("cpu")) is None


def test_other_versions_than_the_first_process_has_are_refused():
    require_same_software({"torch": "2.14.1"}, {"torch": "2.14.1"})
    message = r"^torch 2.9.0 here, and torch 2.14.1 in the first process; install the same version on all hosts$"
    with pytest.raises(UserError, match=message):
        require_same_software({"gantrain": "1", "torch": "2.9.0"}, {"gantrain": "1", "torch": "2.14.1"})


def test_all_processes_say_the_same_and_begin_with_the_weights_of_the_first(tmp_path):
    (first, told), (other, also) = together(unlike, str(tmp_path))
    assert same(first, other)
    assert told[0] == also[0] and "process 1 on " in told[0] and "torch 0.1 here, and torch " in told[0]
    assert told[1] == also[1] and told[1].startswith("more processes than GPUs: processes 0 and 1 on a have")
    assert told[2] == also[2] and told[2].startswith(
        "LOCAL_RANK=0 and LOCAL_WORLD_SIZE=2 are in the environment of process 0 and 1"
    )


def unlike(folder: str) -> tuple[dict, list[str]]:
    """The state in which a run begins where processes drew different weights, and what else they are told."""
    with process_group(cpu=True) as accelerator:
        processes, told = Processes.launched(), []
        for name, value in (
            ("_software", lambda: {"torch": "0.1" if processes.rank else torch.__version__}),
            ("_gpu", lambda device: ("a", "GPU-1")),
            ("_local_rank", lambda: (0, 2)),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(agreement, name, value)
                with pytest.raises(UserError) as refused:
                    require_agreement(processes, accelerator.device)
            told.append(str(refused.value))
        require_agreement(processes, accelerator.device)
        config = config_of(DIGITS, Path(folder), "run.channels_last=true", "outer=lookahead")
        trainer = make_trainer(config, accelerator.device)
        if processes.rank:
            for tensor in (*trainer.evaluated_network("live").parameters(), *trainer.evaluated_network().buffers()):
                tensor.data.add_(1)
        trainer.rehearse()
        return trainer.state(), told
