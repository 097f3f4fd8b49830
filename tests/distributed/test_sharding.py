"""Runs whose parameters are divided among processes, against runs that hold them whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import together
from sharded_worker import CASES, distances, grown, on_hosts, trained
from tiny import DIGITS, RING, back_to, config_of, rows, same, state
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
SAMPA = "game.discriminator.sharpness={name: sampa, direction: smoothed}"
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


def test_two_processes_train_as_one_and_their_checkpoints_go_on_in_both_kinds(tmp_path):
    lines = together(
        trained,
        str(tmp_path),
        (RING, (R1, "run.name=straight", *TWELVE, FULL, "samples={every: 6, count: 4}"), False),
        (RING, (R1, "run.name=stopped", *SIX, FULL), False),
        (RING, (R1, "run.name=stopped", *TWELVE, FULL), True),
    )[0]
    assert lines == [""] * 3
    one, straight = alone(tmp_path, RING, R1, "run.name=one", *TWELVE), tmp_path / "straight"
    assert distance(state(one), state(straight)) < 1e-5 and distance(rows(one), rows(straight)) < 1e-5
    assert same(state(tmp_path / "stopped"), state(straight))
    pictures = {file.name for file in (straight / "samples").iterdir()}
    assert pictures >= {"step_000006.png", "step_000012.png"}
    samples = [gt.load(run).sample(3, seed=0) for run in (one, straight)]
    assert torch.allclose(*samples, atol=1e-4)
    # The optimizers' states lie in shards, of which each process has written its own; a damaged one is noticed.
    path = straight / "step_12"
    shards = sorted((path / "shards").iterdir())
    manifest = json.loads((path / "manifest.json").read_text())
    assert {name for name in manifest if name.startswith("shards/")} == {f"shards/{file.name}" for file in shards}
    assert max(file.stat().st_size for file in shards) < 0.6 * sum(file.stat().st_size for file in shards)
    content = bytearray(shards[1].read_bytes())
    content[-1] ^= 1
    shards[1].write_bytes(content)
    with pytest.warns(Notice, match="damaged"):
        assert checkpoint.newest(straight) == straight / "step_6"
    # From where it stands one process goes on, which holds everything.
    back_to(tmp_path / "stopped", 6)
    alone(tmp_path, RING, R1, "run.name=stopped", *TWELVE, resume=True)
    assert distance(state(tmp_path / "stopped"), state(one)) < 1e-5


@pytest.mark.slow
def test_whole_checkpoints_go_on_divided_and_what_cannot_be_divided_is_refused(tmp_path):
    def run(name: str, *overrides: str, resume: bool = False) -> tuple[dict, tuple[str, ...], bool]:
        return RING, (f"run.name={name}", "outer={name: lookahead, inner_steps: 4}", SAMPA, *overrides), resume

    lines = together(
        trained,
        str(tmp_path),
        run("widened", *SIX, "game.discriminator.sharpness.parallel=off"),
        run("widened", *TWELVE, FULL, "game.discriminator.sharpness.parallel=off", resume=True),
        run("sam", *TWELVE, FULL, "game.discriminator.sharpness=sam"),
        run("esam", *TWELVE, FULL, "game.discriminator.sharpness=esam"),
        run("roles", *TWELVE, FULL, "game.discriminator.sharpness.parallel=on"),
        run("rprop", *TWELVE, FULL, "game.generator.optimizer={name: rprop}"),
        run("adafactor", *TWELVE, FULL, "game.generator.optimizer={name: adafactor}"),
        run("hybrid", *TWELVE, "run.sharding=hybrid"),
        run("reading", *TWELVE, FULL, "game.generator.model={target: 'sharded_worker:Reading'}"),
    )[0]
    alone(tmp_path, *run("one", *TWELVE)[:1], *run("one", *TWELVE)[1])
    assert lines[:2] == ["", ""]
    assert distance(state(tmp_path / "widened"), state(tmp_path / "one")) < 1e-5
    own = "game.discriminator.sharpness: {} climbs each process' own gradient, and with run.sharding there is the mean "
    assert lines[2:4] == [
        own.format("SAM") + "of all only; use ascent: global",
        own.format("ESAM") + "of all only; use sam with ascent: global",
    ]
    assert lines[4].startswith("player discriminator: sharpness.parallel: on divides the processes into halves")
    for line, name in zip(lines[5:7], ("Rprop", "Adafactor"), strict=True):
        assert line.startswith(f"game.generator.optimizer: {name} cannot move parameters that are divided among")
    assert lines[7].startswith("run.sharding: hybrid divides parameters among the processes of a host, and each host")
    assert lines[8].startswith("game.generator.model: Reading reads a weight without calling the module that holds it")


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
@pytest.mark.parametrize(("world", "start"), [(world, start) for world in (2, 4) for start in range(4 * world // 2)])
def test_every_part_moves_shards_as_one_process_moves_all(world, start):
    found = together(distances, list(CASES)[start :: 4 * world // 2], 12, world=world)[0]
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
        (tmp_path / kind).mkdir()
        runs = (RING, overrides, False), (RING, (*overrides, "run.steps=8"), True)
        return max(together(grown, str(tmp_path / kind), *runs, world=4))

    assert most("full") < 0.6 * most("none")
