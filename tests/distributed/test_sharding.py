"""Runs whose parameters are divided among processes, against runs that hold them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import together
from sharded_worker import CASES, distances, grown, on_hosts, trained
from tiny import DIGITS, RING, config_of, rows, same, state
from torch import nn

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config.schema import Config
from gantrain.distributed import sharding
from gantrain.errors import Notice
from gantrain.runs import checkpoint
from gantrain.utils.shards import joint_norm, joint_sum, local

FULL = "run.sharding=full"
TWELVE = ("run.steps=12", "samples=null", "checkpoint.every=6", "checkpoint.keep=9")
SIX = (*TWELVE, "run.steps=6")
R1 = "game.penalties=[{name: r1, weight: 0.5}]"


def distance(left: Any, right: Any) -> float:
    """The largest difference of two trees of tensors and numbers; infinite where they have other forms."""
    if isinstance(left, torch.Tensor):
        return (left.double() - right.double()).abs().max().item() if left.numel() else 0.0
    if isinstance(left, dict) and left.keys() == right.keys():
        return max((distance(left[key], right[key]) for key in left), default=0.0)
    if isinstance(left, list | tuple) and len(left) == len(right):
        return max((distance(a, b) for a, b in zip(left, right, strict=True)), default=0.0)
    if isinstance(left, float):
        return abs(left - right)
    return 0.0 if left == right else float("inf")


def alone(folder: Path, base: dict, *overrides: str, resume: bool = False) -> Path:
    return train(config_of(base, folder, *overrides), resume=resume)


def test_two_processes_train_as_one_and_checkpoints_go_on_in_either_kind(tmp_path):
    def run(name: str, *overrides: str, resume: bool = False) -> tuple[dict, tuple[str, ...], bool]:
        return RING, (R1, f"run.name={name}", *overrides), resume

    lines = together(
        trained,
        str(tmp_path),
        run("straight", *TWELVE, FULL, "samples={every: 6, count: 4}"),
        run("again", *SIX, FULL),
        run("again", *TWELVE, FULL, resume=True),
        run("widened", *SIX),
        run("widened", *TWELVE, FULL, resume=True),
        run("narrowed", *SIX, FULL),
        run("refused", *TWELVE, FULL, "game.discriminator.sharpness=sam"),
        run("rprop", *TWELVE, FULL, "game.generator.optimizer={name: rprop}"),
    )[0]
    assert lines[:6] == [""] * 6
    assert lines[6] == (
        "game.discriminator.sharpness: SAM climbs each process' own gradient, and with "
        "run.sharding there is the mean of all only; use ascent: global"
    )
    assert lines[7].startswith("game.generator.optimizer: Rprop cannot move parameters that are")
    alone(tmp_path, RING, R1, "run.name=one", *TWELVE)
    alone(tmp_path, RING, R1, "run.name=narrowed", *TWELVE, resume=True)
    one, straight = state(tmp_path / "one"), state(tmp_path / "straight")
    assert distance(one, straight) < 1e-5 and distance(rows(tmp_path / "one"), rows(tmp_path / "straight")) < 1e-5
    assert same(state(tmp_path / "again"), straight)
    assert distance(state(tmp_path / "widened"), one) < 1e-5 and distance(state(tmp_path / "narrowed"), one) < 1e-5
    assert {file.name for file in (tmp_path / "straight/samples").glob("*.png")} >= {
        "step_000006.png",
        "step_000012.png",
    }
    saved = gt.load(tmp_path / "straight").sample(3, seed=0)
    assert torch.allclose(saved, gt.load(tmp_path / "one").sample(3, seed=0), atol=1e-4)
    # The optimizers' states lie in shards, each of which is a part; a damaged one is noticed.
    path = tmp_path / "straight/step_12"
    shards = sorted((path / "shards").iterdir())
    assert {name for name in json.loads((path / "manifest.json").read_text()) if name.startswith("shards/")} == {
        f"shards/{file.name}" for file in shards
    }
    assert max(file.stat().st_size for file in shards) < 0.6 * sum(file.stat().st_size for file in shards)
    content = bytearray(shards[1].read_bytes())
    content[-1] ^= 1
    shards[1].write_bytes(content)
    with pytest.warns(Notice, match="damaged"):
        assert checkpoint.newest(tmp_path / "straight") == tmp_path / "straight/step_6"


def test_units_are_layers_with_many_parameters_and_what_is_read_together_is_one():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.small = nn.MultiheadAttention(8, 2), nn.ModuleList([nn.Linear(2, 2)])

    network = nn.Sequential(nn.Linear(10, 10), nn.Linear(2, 2), nn.Sequential(nn.Linear(10, 20), Block()))
    layers = network[0], network[2][0], network[2][1].attention
    least, sharding._LEAST = sharding._LEAST, 100
    try:
        assert sharding._units(network) == list(layers)
        network[1].weight = network[2][1].small[0].weight
        assert sharding._units(network) == []
    finally:
        sharding._LEAST = least


def test_without_shards_nothing_is_asked_of_other_processes():
    tensors = [torch.ones(2), torch.full((3,), 2.0)]
    assert local(tensors) is tensors
    assert torch.allclose(joint_norm([t.norm() for t in tensors], tensors), torch.cat(tensors).norm())
    assert joint_sum([t.sum() for t in tensors], tensors) == 8


def test_one_process_has_nobody_to_share_with(tmp_path):
    alone(tmp_path, RING, *SIX, "run.name=none")
    alone(tmp_path, RING, *SIX, "run.name=full", FULL, "game.discriminator.sharpness={name: sam, rho: 0}")
    assert same(state(tmp_path / "none")["generator"], state(tmp_path / "full")["generator"])
    assert not (tmp_path / "full/step_6/shards").exists()


def test_networks_that_are_divided_are_not_compiled():
    with pytest.raises(ValueError, match=r"networks that sharding divides run uncompiled; set it to false"):
        Config.model_validate(RING | {"run": RING["run"] | {"sharding": "full", "compile": True}})


@pytest.mark.slow
@pytest.mark.parametrize(("world", "start"), [(2, 0), (2, 1), (2, 2), (4, 0), (4, 1), (4, 2)])
def test_every_part_moves_shards_as_one_process_moves_all(world, start):
    found = together(distances, list(CASES)[start::3], 12, world=world)[0]
    assert {name: value for name, value in found.items() if not value < 1e-5} == {}


PENALTIES = "game.penalties=[{name: wgan_gp, weight: 1}, {name: orthogonal, weight: 0.1}, {name: r2, weight: 0.1}]"
VARIANTS: dict[str, tuple[dict, tuple[str, ...]]] = {
    "penalties": (RING, (PENALTIES,)),
    "path length": (DIGITS, ("game.penalties=[{name: path_length, weight: 0.5, every: 2}]",)),
    "channels last": (DIGITS, ("run.channels_last=true", "outer=extragradient")),
    "accumulation": (DIGITS, (R1, "data.accumulation=2", "outer=extragradient", "game.discriminator.sharpness=sampa")),
    "loops": (
        DIGITS,
        (
            "outer={name: lookahead, inner_steps: 3, base: {name: rapp, inner_steps: 2}}",
            "game.generator.sharpness={name: sam, ascent: global}",
            "game.discriminator.clip=0.5",
            "ema=[{name: slow, decay: 0.9, of: anchor}, {name: mean, uniform: true}]",
        ),
    ),
    "muon": (DIGITS, ("game.generator.optimizer={name: muon}",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_every_kind_of_run_is_that_of_one_process(tmp_path, world):
    runs = [
        (base, (*TWELVE, FULL, *overrides, f"run.name=many {name}"), False)
        for name, (base, overrides) in VARIANTS.items()
    ]
    assert together(trained, str(tmp_path), *runs, world=world)[0] == [""] * len(VARIANTS)
    far = {}
    for name, (base, overrides) in VARIANTS.items():
        alone(tmp_path, base, *TWELVE, *overrides, f"run.name=one {name}")
        found = distance(state(tmp_path / f"one {name}"), state(tmp_path / f"many {name}"))
        far |= {name: found} if not found < 1e-5 else {}
    assert far == {}


@pytest.mark.slow
def test_half_precision_is_that_of_whole_parameters(tmp_path):
    runs = [
        (DIGITS, (*TWELVE, f"run.precision={precision}", f"run.sharding={kind}", f"run.name={kind} {precision}"), False)
        for precision in ("bf16", "fp16")
        for kind in ("none", "full")
    ]
    lines = together(trained, str(tmp_path), *runs)[0]
    for precision in ("bf16", "fp16"):
        if any(lines):  # the processor may not compute in it
            pytest.skip(lines[-1])
        assert distance(*(state(tmp_path / f"{kind} {precision}") for kind in ("none", "full"))) < 1e-4


@pytest.mark.slow
def test_parameters_are_divided_within_hosts_and_checkpoints_fit_any_number_of_processes(tmp_path):
    lines = together(
        on_hosts,
        str(tmp_path),
        (RING, (R1, *TWELVE, "run.sharding=hybrid", "run.name=hybrid"), False),
        (RING, (R1, *SIX, "run.sharding=hybrid", "run.name=other"), False),
        world=4,
    )[0]
    assert lines == ["", ""]
    assert together(trained, str(tmp_path), (RING, (R1, *TWELVE, FULL, "run.name=other"), True))[0] == [""]
    alone(tmp_path, RING, R1, *TWELVE, "run.name=one")
    assert distance(state(tmp_path / "one"), state(tmp_path / "hybrid")) < 1e-5
    assert distance(state(tmp_path / "one"), state(tmp_path / "other")) < 1e-5


@pytest.mark.slow
def test_a_process_needs_less_memory_also_while_it_writes_and_reads_a_checkpoint(tmp_path):
    wide = (*SIX, "game.generator.model={name: mlp, width: 2048, depth: 5}")

    def most(kind: str) -> int:
        overrides = (*wide, f"run.name={kind}", f"run.sharding={kind}")
        return max(together(grown, str(tmp_path), (RING, overrides, False), (RING, (*overrides, "run.steps=8"), True)))

    assert most("full") < 0.6 * most("none")
