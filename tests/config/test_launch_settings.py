"""Settings of ``accelerate config`` are keys where they mean the same, and are named where they change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from forked import SECONDS, Command
from tiny import RING, config_of, write

from gantrain.config.launch_settings import ignored, settings_for, spelt
from gantrain.config.loading import load

NONE = {
    "ACCELERATE_USE_CPU": "False",
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
}
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}
UNKNOWN = "settings of accelerate that change nothing: "


@pytest.fixture
def handed_on(monkeypatch):
    def hand_on(settings: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_"))]:
            monkeypatch.delenv(name)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    return hand_on


def written(folder: Path) -> Path:
    """The config of a run that says nothing about how it computes."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(RING))
    return file


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({}, []),
        (NONE, []),
        ({"ACCELERATE_MIXED_PRECISION": "BF16"}, ["run.precision=bf16"]),
        (
            {"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_USE_CPU": "True"},
            ["run.device=cpu", "run.precision=fp16"],
        ),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, ["run.compile=true"]),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, ["data.accumulation=4"]),
        (FSDP, ["run.sharding=full"]),
    ],
)
def test_a_setting_that_means_what_a_key_means_is_that_key(tmp_path, handed_on, settings, keys):
    handed_on(settings)
    file = written(tmp_path)
    found = settings_for(load(file))
    assert list(map(spelt, found)) == keys
    config = load(file, found)
    assert not settings_for(config) and ignored(config, cpu=True) is None
    for argument in keys:  # the same value by the config's own key
        key, _, value = argument.partition("=")
        section, _, name = key.partition(".")
        assert getattr(getattr(config, section), name) == yaml.safe_load(value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "mixed precision fp8"),
        ({"ACCELERATE_DYNAMO_BACKEND": "EAGER"}, "compiler eager"),
        ({"ACCELERATE_DYNAMO_MODE": "max-autotune"}, "compiler mode max-autotune"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "-2"}, "gradient accumulation -2"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_CPU_AFFINITY": "1"}, "DeepSpeed, CPU affinity"),
        (FSDP | {"FSDP_VERSION": "1"}, "FSDP 1 (of FSDP 2 run.sharding: full is the counterpart)"),
        (
            FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "false"},
            "FSDP 2 without resharding after the forward pass (run.sharding: full always does)",
        ),
    ],
)
def test_a_setting_that_no_key_means_is_named(tmp_path, handed_on, settings, named):
    handed_on(settings)
    config = config_of(RING, tmp_path)
    assert settings_for(config) == []
    assert ignored(config, cpu=True) == UNKNOWN + named


def test_what_fsdp_is_asked_for_besides_is_named(tmp_path, handed_on):
    handed_on(FSDP | {"FSDP_OFFLOAD_PARAMS": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"})
    file = written(tmp_path)
    (setting,) = settings_for(load(file))
    expected = UNKNOWN + "FSDP's offloading, FSDP's activation checkpointing"
    assert ignored(load(file, [setting]), cpu=True) == expected


def test_a_key_of_the_config_holds_against_a_setting_which_is_named(tmp_path, handed_on):
    handed_on(FSDP | {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"})
    keys = ("run.precision=fp32", "data.accumulation=1", "run.sharding=none")
    config = config_of(RING, tmp_path, *keys)
    assert settings_for(config) == []
    assert ignored(config, cpu=True) == UNKNOWN + (
        "mixed precision bf16 (the config has run.precision=fp32), gradient accumulation 2 (the config has "
        "data.accumulation=1), FSDP 2 (the config has run.sharding=none)"
    )
    handed_on({"ACCELERATE_USE_CPU": "true"})
    config = load(written(tmp_path), ["run.device=auto"])
    assert settings_for(config) == [] and ignored(config, cpu=True) is None
    assert ignored(config, cpu=False) == UNKNOWN + "the CPU (the config has run.device=auto)"


def test_the_run_and_its_dry_run_have_the_value_that_holds(tmp_path):
    config = write(tmp_path, RING, "run.steps=2", "samples=null", "run.device=cpu")
    asked = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}
    dry = Command(tmp_path, "train", config, "--dry-run", "--json", **asked)
    run = Command(tmp_path, "train", config, **asked)
    assert run.wait() == dry.wait() == 0, run.errors + dry.errors
    line = "gantrain: taken from accelerate: run.precision=bf16, data.accumulation=2"
    assert line in run.errors.splitlines() and line in dry.errors.splitlines()
    assert json.loads(dry.output)["run"]["precision"] == "bf16"
    resolved = yaml.safe_load((tmp_path / "ring" / "config.yaml").read_text())
    assert (resolved["run"]["precision"], resolved["data"]["accumulation"]) == ("bf16", 2)
    assert "run.precision=bf16 data.accumulation=2" in run.output  # in the command that goes on from here

    resumed = Command(tmp_path, "train", config, "--resume", "run.steps=4")
    assert resumed.wait() == 2 and "run.precision" in resumed.errors
    resumed = Command(tmp_path, "train", config, "--resume", "run.steps=4", **asked, ACCELERATE_USE_FSDP="false")
    assert resumed.wait() == 0, resumed.errors


@pytest.mark.slow
def test_accelerate_launch_hands_its_config_on(tmp_path):
    config = write(tmp_path, RING, "run.steps=2", "samples=null")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--mixed_precision", "bf16"]
    launch += ["--use_fsdp", "--fsdp_version", "2", "-m", "gantrain", "train", config]
    done = subprocess.run(launch, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "gantrain: taken from accelerate: run.precision=bf16, run.sharding=full" in done.stderr
    resolved = yaml.safe_load((tmp_path / "ring" / "config.yaml").read_text())["run"]
    assert (resolved["precision"], resolved["sharding"]) == ("bf16", "full")
