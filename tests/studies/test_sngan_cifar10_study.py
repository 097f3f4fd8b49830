"""The study of the SNGAN pair on CIFAR-10, scripts/studies/sngan_cifar10.py, on few small images."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from forked import until
from image_sets import written
from tiny import same, state

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config import load, resolved

SCRIPTS = Path(__file__).parents[2] / "scripts" / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import sngan_cifar10

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield sngan_cifar10
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def options(tmp_path):
    """The options of a study on 100 images, with networks of few channels and turns of three gradients."""
    source = torch.Generator().manual_seed(0)
    images = torch.randint(256, (100, 3, 32, 32), generator=source, dtype=torch.uint8)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in written(tmp_path / "images", images).iterdir():
            archive.write(file, f"train/{int(file.stem) % 2}/{file.name}")
    tiny = ("--width", "2", "--turn", "3", "--gradients", "6", "data.batch_size=8", "evaluate.samples=70")
    places = ("--folder", tmp_path / "runs", "--results", tmp_path / "results", "--data", tmp_path / "images.zip")
    return [*map(str, places), *tiny, "--device", "cpu"]


def read(results):
    with (results / "sngan_cifar10.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_method_has_a_config_and_its_file_decides_what_the_device_does_not(study, monkeypatch, device):
    monkeypatch.setattr(sys, "argv", ["sngan_cifar10.py", "--device", device])
    arguments = study.parsed()
    scale = study.SCALES[device]
    assert arguments.methods == list(scale.methods)
    for method in scale.methods:
        path, *overrides = study.training(arguments, method, 2 * arguments.turn)[4:]
        config, published = resolved(load(path, overrides)), resolved(load(path))
        for player in ("generator", "discriminator"):
            ours, theirs = config["game"][player], published["game"][player]
            assert ours["model"]["width"] == theirs["model"]["width"] * scale.width // 128
            assert ours["optimizer"]["lr"] == theirs["optimizer"]["lr"] * (2 if scale.changes.get(method) else 1)
        assert config["run"]["gradients"] == 2 * arguments.turn
        assert config["run"]["precision"] == "bf16" and config["run"]["compile"] == (device == "cuda")
        assert config["outer"] | {"inner_steps": 0} == published["outer"] | {"inner_steps": 0}
        if method.startswith("la_"):
            steps = arguments.turn // (2 if "extra" in method else 1)
            assert steps % config["outer"]["inner_steps"], "live weights would be the anchor at each measurement"
            assert config["evaluate"]["weights"] == ["ema", "live", "anchor"]


@pytest.mark.slow
def test_methods_take_turns_and_the_best_generator_is_shipped(study, options, tmp_path, monkeypatch, capsys):
    class Here:
        """What the study starts by subprocess, without the seconds that a process of its own takes."""

        returncode = 0

        def __init__(self, command, start_new_session):
            assert command[1:4] == ["-m", "gantrain", "train"] and command[-1] == "--resume"
            train(load(command[4], command[5:-1]), resume=True)

        def poll(self):
            return self.returncode

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["sngan_cifar10.py", *options, *arguments])
        with pytest.raises(SystemExit) as end:
            study.main()
        return end.value.code or 0, capsys.readouterr().out

    monkeypatch.setattr(subprocess, "Popen", Here)
    assert called("--report") == (0, f"{tmp_path}/results/sngan_cifar10.csv: there are no rows yet\n")
    code, printed = called("--portion", "10", "--gradients", "3")
    assert code == 0 and [line for line in printed.splitlines() if ": to " in line] == [
        "adam: to 3 gradients",
        "la_adam: to 3 gradients",
    ]
    code, printed = called("--portion", "10", "--methods", "adam")
    assert code == 0 and "adam: to 6 gradients" in printed and "going on from step 3" in printed
    rows = read(tmp_path / "results")
    assert {(row["method"], row["turn"]) for row in rows} == {("adam", "1"), ("adam", "2"), ("la_adam", "1")}
    assert len(rows) == 2 * (2 + 2 + 3)  # of each turn two metrics of two or three weights
    table = (tmp_path / "results/sngan_cifar10.txt").read_text()
    assert "turn 1, the last that all have finished" in table and table in printed
    assert len(list((tmp_path / "results/sngan_cifar10").glob("*.png"))) == 2
    assert called("--portion", "10", "--gradients", "3")[0] == 0  # nothing is left to do
    assert read(tmp_path / "results") == rows

    target = tmp_path / "cifar10-sngan"
    distances = {
        (row["method"], row["gradients"]): float(row["value"])
        for row in rows
        if row["weights"] == "ema" and "distance" in row["metric"]
    }
    (method, gradients), lowest = min(distances.items(), key=lambda item: item[1])
    told = (
        f"{target}: {method}-width2-seed0 at step {gradients}, frechet_distance[photos-classifier][ema] {lowest:.3f}\n"
    )
    assert called("--ship", "--target", str(target)) == (0, told)
    shipped, best = gt.load(target), gt.load(tmp_path / "runs" / f"{method}-width2-seed0" / "best")
    assert shipped.weights == "ema" and torch.equal(shipped.sample(4), best.sample(4))
    begun = gt.initialise(shipped.network, target, "generator")
    assert (begun.weights, begun.taken) == ("ema", begun.tensors)
    assert str(tmp_path) not in (target / "config.yaml").read_text()
    assert "there is a run already" in str(called("--ship", "--target", str(target))[0])


@pytest.mark.slow
def test_a_portion_that_is_stopped_goes_on_with_the_same_bits(options, tmp_path):
    command = [sys.executable, str(SCRIPTS / "sngan_cifar10.py"), *options, "--methods", "adam", "--turn", "40"]
    folder = tmp_path / "runs" / "adam-width2-seed0"
    going = subprocess.Popen([*command, "--gradients", "40", "log.every=1"])
    until(lambda: (folder / "metrics.jsonl").exists() and '"step": 3' in (folder / "metrics.jsonl").read_text())
    os.kill(going.pid, signal.SIGTERM)
    assert going.wait() == 128 + signal.SIGTERM
    assert not (folder / "step_40").exists() and list(folder.glob("step_*"))
    subprocess.run([*command, "--gradients", "40", "log.every=1"], check=True)
    straight = [word.replace(str(tmp_path / "runs"), str(tmp_path / "straight")) for word in command]
    subprocess.run([*straight, "--gradients", "40", "log.every=1"], check=True)
    assert same(state(folder), state(tmp_path / "straight" / folder.name))
