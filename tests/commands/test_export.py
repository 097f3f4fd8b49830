"""Exported files give what the network gives, elsewhere too; what does not is never written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny import DIGITS, config_of

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config.loading import load
from gantrain.config.shipped import ROOT
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.exporting import FORMATS, exported, onnx, torch_export
from gantrain.exporting.function import Function, function_of

CLASSIFIER = ROOT / "checkpoints" / "digits-classifier"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A conditional run with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    return train(config_of(DIGITS, folder, "run.steps=2", "checkpoint.every=1", "game.conditional=true"))


def test_the_weights_make_the_network_again_without_the_run(run, tmp_path):
    (tmp_path / "deep").mkdir()
    file = gt.export(str(run), "safetensors", str(tmp_path / "deep" / "net.safetensors"), step=1, weights="live")
    opened, network = gt.load(run, step=1, weights="live"), gt.load_network(file)
    z = torch.randn(3, network.latent_dim)
    assert torch.equal(network(z, torch.tensor([1, 2, 3])), opened.network(z, torch.tensor([1, 2, 3])))
    assert not network.training
    with safetensors.safe_open(file, "pt") as content:
        about = json.loads(content.metadata()["gantrain"])
    assert (about["run"], about["step"], about["weights"]) == (opened.folder.name, 1, "live")
    assert about["inputs"]["labels"] == {"shape": ["n"], "type": "int64", "values": "classes, from 0 to 9"}
    assert about["outputs"]["samples"]["shape"] == ["n", 1, 8, 8]
    assert about["outputs"]["samples"]["values"].startswith("grey images (channels, height, width) in [-1, 1]; ")
    of_classes = gt.load_network(gt.export(str(CLASSIFIER), "safetensors", str(tmp_path / "c.safetensors")))
    samples = torch.rand(2, 1, 8, 8)
    assert torch.equal(of_classes(samples), gt.load(CLASSIFIER).network(samples))


def test_nothing_is_overwritten_and_files_lie_in_the_run(run, tmp_path):
    file = gt.export(str(run), "safetensors")
    assert file == run / "exported" / "ema_step_2.safetensors"
    before = file.read_bytes()
    with pytest.raises(UserError, match="ema_step_2.safetensors: exists; add --overwrite"):
        gt.export(str(run), "safetensors")
    assert gt.export(str(run), "safetensors", overwrite=True).read_bytes() == before
    with pytest.raises(UserError, match="is a folder; name a file with --output"):
        gt.export(str(run), "safetensors", str(tmp_path))
    with pytest.raises(UserError, match="^to: expected one of onnx, torch, safetensors, got 'tflite'$"):
        gt.export(str(run), "tflite")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda x: x + 0.01,
            r"^export: the file differs from the network by 0.01 on 1 random inputs, and",
        ),
        (lambda x: x * float("nan"), "^export: the file differs from the network by nan on 1"),
        (lambda x: x[:1], r"^export: the file returns the shape \(1, 1, 8, 8\) for 5 samples"),
    ],
)
def test_a_file_that_differs_is_not_written(run, tmp_path, monkeypatch, wrong, message):
    form = FORMATS["safetensors"]

    def read(*arguments):
        right = form.read(*arguments)
        return lambda inputs: wrong(right(inputs))

    monkeypatch.setitem(FORMATS, "safetensors", replace(form, read=read))
    with pytest.raises(UserError, match=message):
        gt.export(str(run), "safetensors", str(tmp_path / "new" / "file"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_one_line(run, tmp_path, monkeypatch):
    config = load(ROOT / "configs" / "games" / "matrix.yaml", ["run.steps=2", f"run.folder={tmp_path}"])
    game = train(config)
    with pytest.raises(UserError, match="the game matrix has no generator and predicts no labels"):
        gt.export(str(game), "torch")
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name != "onnx" else name)
    with pytest.raises(UserError) as error:
        gt.export(str(run), "onnx", str(tmp_path / "a.onnx"))
    assert str(error.value) == (
        "export: --to onnx needs the packages onnxruntime, onnxscript, which are not installed; pip install "
        "'gantrain[onnx]'"
    )
    opened = gt.load(run)

    class Noisy(type(opened.network)):
        def forward(self, z, labels=None):
            return super().forward(z + torch.randn_like(z), labels)

    opened.network.__class__ = Noisy
    with pytest.raises(UserError, match="Noisy draws random numbers also in evaluation mode.*use --to torch"):
        exported(opened, "onnx")


def test_a_foreign_or_damaged_file_of_weights_is_one_line(run, tmp_path):
    content = exported(gt.load(run), "safetensors")
    file = tmp_path / "net.safetensors"
    wrong = {
        "is no file of gantrain export": [b"", content[:100], safetensors.torch.save({"x": torch.ones(1)})],
        "names code outside gantrain, .*: game.generator.model.target: 'mine:Net'; .*trust=True": [
            changed(content, lambda about: about["game"]["generator"].update(model={"target": "mine:Net"}))
        ],
        "its weights are not those of the network": [
            changed(content, lambda about: about["game"]["generator"]["model"].update(width=8))
        ],
    }
    for message, contents in wrong.items():
        for each in contents:
            file.write_bytes(each)
            with pytest.raises(UserError, match=message) as error:
                gt.load_network(file)
            assert "\n" not in str(error.value) and str(error.value).startswith(f"{file}: ")
    with pytest.raises(UserError, match="nowhere.*expected a file of gantrain export"):
        gt.load_network(tmp_path / "nowhere")


def changed(content: bytes, change) -> bytes:
    tensors = safetensors.torch.load(content)
    about = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["gantrain"])
    change(about)
    return safetensors.torch.save(tensors, metadata={"gantrain": json.dumps(about)})


class Foreign(torch.nn.Module):
    """A network with an operation of its own."""

    def forward(self, z, labels):
        schema = "(Tensor x) -> Tensor"
        doubled = torch.library.custom_op("tests::doubled", lambda x: 2 * x, mutates_args=(), schema=schema)
        doubled.register_fake(torch.empty_like)
        return doubled(z)


def test_a_graph_that_torch_alone_cannot_run_is_refused(run):
    saved = gt.load(run)
    with pytest.raises(UserError, match=r"has the operation tests\.doubled\.default, .*use --to safetensors"):
        torch_export.write(replace(function_of(saved), module=Foreign()), saved)


ELSEWHERE = """
import sys
sys.modules["gantrain"] = None  # an import of it fails
import json, torch
file, inputs, output = sys.argv[1:]
given = torch.load(inputs)
about = {"gantrain.json": ""}
if file.endswith("onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(file)
    print(session.get_modelmeta().custom_metadata_map["inputs"])
    found = torch.from_numpy(session.run(None, {k: v.numpy() for k, v in given.items()})[0])
else:
    program = torch.export.load(file, extra_files=about)
    print(json.dumps(json.loads(about["gantrain.json"])["inputs"]))
    found = program.module()(*given.values())
torch.save(found, output)
"""


@pytest.mark.slow
def test_a_batch_may_have_any_size_where_a_network_asks_for_its_length():
    class Counting(torch.nn.Module):
        def forward(self, z):
            return torch.ones(1, 2).expand(len(z), 2) * z

    function = Function(
        of=Counting, module=Counting(), inputs={"z": {}}, output="samples", about={}, spec=DataSpec((2,)), latent_dim=2
    )
    graph = torch_export.traced(function).module()
    assert graph(torch.full((7, 2), 3.0)).tolist() == [[3.0, 3.0]] * 7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_graph_gives_the_same_in_a_process_without_gantrain(run, tmp_path, kind):
    for package in onnx.PACKAGES if kind == "onnx" else ():
        pytest.importorskip(package)
    opened, classifier = gt.load(run), gt.load(CLASSIFIER)
    z, labels, samples = torch.randn(7, 4), torch.arange(7), torch.rand(7, 1, 8, 8) * 2 - 1
    model = "{name: stylegan2, width: 4, latent_dim: 4, style_dim: 4, mapping_layers: 1}"
    style = train(config_of(DIGITS, tmp_path, "run.name=style", "run.steps=1", "game.conditional=true",
                            f"game.generator.model={model}"))  # fmt: skip
    for place, given, expected in (
        (style, {"z": z, "labels": labels}, gt.load(style).generate(z, labels)),
        (run, {"z": z, "labels": labels}, opened.generate(z, labels)),
        (CLASSIFIER, {"samples": samples}, classifier.network(samples).detach()),
    ):
        file = gt.export(str(place), kind, str(tmp_path / f"{place.name}{FORMATS[kind].suffix}"))
        torch.save(given, tmp_path / "inputs")
        command = [sys.executable, "-c", ELSEWHERE, str(file), str(tmp_path / "inputs"), str(tmp_path / "output")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert list(json.loads(done.stdout)) == list(given)
        torch.testing.assert_close(torch.load(tmp_path / "output"), expected, rtol=1e-4, atol=1e-5)
