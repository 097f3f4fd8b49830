"""The shipped configs of SAMPa's and BiSAM's experiments: what they say, and that each of them trains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from published_sets import make_cifar, make_flowers, make_imagenet, make_pets, photograph
from tiny import rows

from gantrain.commands.sweep import grid
from gantrain.commands.train import train
from gantrain.config.loading import load
from gantrain.config.parts import build
from gantrain.data import DataSpec

CONFIGS = Path(__file__).parents[2] / "configs"
SAMPA = CONFIGS / "sampa"
FILES = [path for folder in ("sampa", "bisam") for path in sorted((CONFIGS / folder).glob("[!_]*.yaml"))]
FILES = [path for path in FILES if not path.name.startswith("sweep_")]
# The parameters of the networks of the published code for ten classes. VGG has 5 504 biases less, which do nothing.
PARAMETERS = {
    "cifar10": 853_018,
    "densenet121": 6_956_298,
    "vgg19": 20_565_834 - 5_504,
    "wrn28_2": 1_855_578,
    "wrn28_10": 46_160_474,
    "resnet32": 464_154,
}
NARROW = {
    "resnet": ["depth=8", "width=2"],
    "wide_resnet": ["depth=10", "width=1"],
    "vgg": ["depth=11", "width=2"],
    "densenet": ["growth=2", "blocks=[1, 1]"],
    "imagenet_resnet": ["depth=18"],
    "conv": [],
}
# Those of which the default trials train another with the same network or the same data.
QUICK = ("sampa/vgg19",)


def test_the_networks_are_those_of_the_published_code():
    for name, expected in PARAMETERS.items():
        with torch.device("meta"):
            network = build("classifier", load(SAMPA / f"{name}.yaml").game.classifier.model, DataSpec((3, 32, 32), 10))
        assert sum(p.numel() for p in network.parameters()) == expected, name


def test_the_runs_of_all_configs_have_folders_of_their_own():
    names = [load(path).run.name for path in FILES]
    assert len(set(names)) == len(names)


def test_a_tenth_of_the_target_goes_to_the_other_classes_as_in_the_published_code():
    configs = [load(path) for path in FILES if "vit" not in path.stem]
    cifar = [config for config in configs if config.data.part.name.startswith("cifar")]
    assert len(cifar) == 14
    for config in cifar:
        classes = {"cifar10": 10, "cifar100": 100}[config.data.part.name]
        assert config.game.label_smoothing * (1 - 1 / classes) == pytest.approx(0.1), config.run.name


@pytest.mark.slow
def test_the_tables_have_all_their_runs():
    runs = grid(str(SAMPA / "sweep_cifar.yaml"), [], [], 1)
    assert len({run.folder for run in runs}) == len(runs) == 5 * 2 * 4 * 2
    for run in runs:
        classifier, sharpness = run.config.game.classifier, run.config.game.classifier.sharpness
        assert run.config.run.steps == classifier.scheduler.T_max == 352 * int(run.values["epochs"])
        assert run.config.data.part.name == run.values["data"] and run.config.data.part.validation == 0.1
        assert run.config.evaluate.data.name == run.values["data"] and run.config.evaluate.data.split == "validation"
        classes = {"cifar10": 10, "cifar100": 100}[run.values["data"]]
        # 0.1 goes to the other classes.
        assert run.config.game.label_smoothing * (1 - 1 / classes) == pytest.approx(0.1)
        method = "sgd" if sharpness is None else sharpness.name
        assert method == run.values["method"].partition("-")[0]
        if method == "sampa":
            assert sharpness.mix == float(run.values["method"].partition("-")[2])
    noisy = grid(str(SAMPA / "sweep_label_noise.yaml"), [], [], 1)
    assert {run.config.data.part.label_noise for run in noisy} == {0.0, 0.2, 0.4, 0.6, 0.8} and len(noisy) == 20
    assert all(run.config.game.classifier.model.depth == 32 for run in noisy)


def test_each_sweep_file_has_a_run():
    for path in CONFIGS.glob("**/sweep_*.yaml"):
        network = ["network=wrn28_10"] if path.stem == "sweep_cifar" else ["noise=0.8"] if "noise" in path.stem else []
        run = grid(str(path), [], [*network, "method=sam"], 1)[0]
        assert run.config.game.classifier.sharpness.name == "sam", path


def data_for(name: str, folder: Path, monkeypatch) -> list[str]:
    """What names data of this kind that are made in a folder, in its published format."""
    if name == "digits":
        return []
    if name == "image_archive":
        for i in range(20):
            photograph(folder / "pictures" / "train" / "ab"[i % 2] / f"{i}.png", 20)
        return [f"data.path={shutil.make_archive(str(folder / 'pictures'), 'zip', folder / 'pictures')}"]
    if name.startswith("cifar"):
        make_cifar(folder, monkeypatch, fine=name == "cifar100")
    else:
        makers = {"imagenet": make_imagenet, "oxford_iiit_pet": make_pets}
        if name == "flowers102":
            make_flowers(folder, monkeypatch)
        else:
            makers[name](folder)
    return [f"data.root={folder}"]


def narrow(name: str, folder: Path) -> list[str]:
    """What makes a network of this name small."""
    if name != "huggingface_images":
        return NARROW[name]
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.ViTConfig(**sizes, image_size=32, patch_size=16).save_pretrained(folder)
    return [f"checkpoint={folder}", "pretrained=false", "mean=[0.5, 0.5, 0.5]", "std=[0.5, 0.5, 0.5]"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[] if f"{p.parent.name}/{p.stem}" in QUICK else pytest.mark.slow) for p in FILES],
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)
def test_a_config_takes_two_steps(path, tmp_path, monkeypatch):
    config = load(path)
    model, data = config.game.classifier.model.name, config.data.part.name
    changes = [f"run.folder={tmp_path}", "run.device=cpu", "run.steps=2", "log.every=1", "evaluate.every=2"]
    changes += [f"game.classifier.model.{key}" for key in narrow(model, tmp_path / "model")]
    changes += ["data.batch_size=2", *data_for(data, tmp_path / "data", monkeypatch)]
    if model == "imagenet_resnet":
        changes += ["data.size=32", "data.resize=36", "data.workers=0"]
    found = rows(train(load(path, changes)))
    assert found[-1]["step"] == 2 and "validation/accuracy" in found[-1]
    assert found[0]["loss/classifier"] > 0
