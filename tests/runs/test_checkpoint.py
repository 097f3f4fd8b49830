from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import re
import resource
import shutil
import signal
import time
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from forked import Command, together, until
from torch import nn

from gantrain.errors import UserError
from gantrain.runs import checkpoint, checkpoint_files

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPES = [*FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool]


def same(a: object, b: object) -> bool:
    """Equal in type, order and every bit."""
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8))
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def forge(path: Path, document: object) -> None:
    """Replace the skeleton and make the manifest fit it."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    (path / "state.json").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["state.json"] = hashlib.sha256(content).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_trees_of_all_kinds_survive(tmp_path):
    base = torch.arange(12.0)
    tree = {
        "none": None,
        "bools": [True, False],
        "ints": (0, -1, 2**62, 10**30),
        "floats": [0.1, 1.0, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "text": 'ü \n " \ud800 {}',
        3: {"int keys": 1, -4: ()},
        "3": "not the int key",
        "empty": [{}, [], (), ""],
        "nested": ({"a": [torch.ones(2), (torch.zeros(()),)]},),
        "dtypes": {str(dtype): torch.tensor([0, 1, 1]).to(dtype) for dtype in DTYPES},
        "not finite": torch.tensor([math.nan, math.inf, -math.inf, -0.0]),
        "no elements": torch.zeros(0, 3),
        "aliases": [base, base, base[3:], base.view(3, 4).t()],
        "strided": torch.arange(12).view(3, 4)[:, ::2],
        "a.b": torch.tensor(1),
        "a": {"b": torch.tensor(2)},
        "parameter": nn.Parameter(torch.ones(2)),
    }
    checkpoint.save(tmp_path, 7, {"tree": tree, "clock": {"step": 7}, "bare": torch.ones(3)}, keep=None)
    step, state = checkpoint.load(tmp_path / "step_7")
    assert step == 7
    assert list(state) == ["tree", "clock", "bare"]
    assert same(state["tree"], tree)
    assert same(state["bare"], torch.ones(3))
    assert files(tmp_path / "step_7") == ["bare.safetensors", "manifest.json", "state.json", "tree.safetensors"]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.0, 0.9), amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.AdamW([{"params": p[:1], "lr": 0.3}, {"params": p[1:]}], lr=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True),
    ],
)
def test_training_goes_on_to_the_last_bit(tmp_path, make):
    def learner():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = make(list(module.parameters()))
        return module, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.3)

    def steps(module, optimizer, scheduler, first, last):
        for step in range(first, last):
            data = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            module(data).square().mean().backward()
            optimizer.step()
            scheduler.step()

    straight, broken, resumed = learner(), learner(), learner()
    steps(*straight, 0, 6)
    steps(*broken, 0, 3)
    names = ("generator", "optimizer.generator", "scheduler.generator")
    state = {name: part.state_dict() for name, part in zip(names, broken, strict=True)}
    checkpoint.save(tmp_path, 3, state, keep=1)
    _, loaded = checkpoint.load(tmp_path / "step_3")
    for name, part in zip(names, resumed, strict=True):
        part.load_state_dict(loaded[name])
    steps(*resumed, 3, 6)
    for a, b in zip(straight[:2], resumed[:2], strict=True):
        assert same(dict(a.state_dict()), dict(b.state_dict()))
    assert straight[2].get_last_lr() == resumed[2].get_last_lr()


def test_module_weights_load_with_safetensors_alone(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    checkpoint.save(tmp_path, 1, {"generator": module.state_dict()}, keep=1)
    weights = safetensors.torch.load_file(tmp_path / "step_1" / "generator.safetensors")
    assert same(weights, {name: module.state_dict()[name] for name in weights})
    nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).load_state_dict(weights)


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": {"w": torch.ones(4)}}, keep=1)
    content = (tmp_path / "step_1" / "a.safetensors").read_bytes()
    _, state = checkpoint.load(tmp_path / "step_1")
    state["a"]["w"].mul_(2)
    assert (tmp_path / "step_1" / "a.safetensors").read_bytes() == content
    (tmp_path / "step_1" / "a.safetensors").write_bytes(b"")
    assert torch.equal(state["a"]["w"], torch.full((4,), 2.0))


def test_the_newest_stay_and_strangers_are_left_alone(tmp_path):
    for name in ("step_best", "step_007", "step_5x", "samples", "step_.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_9.tmp").mkdir()
    (tmp_path / "step_9.tmp" / "half").write_text("")
    (tmp_path / "step_3.old.tmp").mkdir()
    (tmp_path / "step_4").write_text("a file")
    strangers = ["samples", "step_.tmp", "step_007", "step_4", "step_5x", "step_best"]
    for step in (8, 9, 10, 100):
        checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=2)
    assert files(tmp_path) == sorted([*strangers, "step_10", "step_100"])
    checkpoint.save(tmp_path, 101, {"clock": {}}, keep=None)
    assert files(tmp_path) == sorted([*strangers, "step_10", "step_100", "step_101"])
    assert checkpoint.newest(tmp_path) == tmp_path / "step_101"


def test_damaged_checkpoints_of_later_steps_do_not_displace_new_ones(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=None)
    (tmp_path / "step_3" / "state.json").unlink()
    with pytest.warns(UserWarning, match=r"step_3/state.json: missing"):
        assert checkpoint.newest(tmp_path) == tmp_path / "step_2"
    checkpoint.save(tmp_path, 2, {"clock": {"step": 2}}, keep=1)
    assert files(tmp_path) == ["step_2", "step_3"]
    checkpoint.save(tmp_path, 3, {"clock": {"step": 3, "again": True}}, keep=1)
    assert files(tmp_path) == ["step_3"]
    assert checkpoint.load(tmp_path / "step_3") == (3, {"clock": {"step": 3, "again": True}})


SYSTEM_FILES = (".DS_Store", "Thumbs.db", "._generator.safetensors", "desktop.ini", "mine.txt")


def test_files_of_others_in_a_checkpoint_are_not_read(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": {"w": torch.ones(2)}}, keep=None)
    for name in SYSTEM_FILES:
        (tmp_path / "step_1" / name).write_bytes(b"\x80")
    os.mkfifo(tmp_path / "step_1" / "evil.safetensors")  # whoever opens it, waits for ever
    (tmp_path / "step_1" / "folder.safetensors").mkdir()
    for name in (".DS_Store", "step_2", "._step_1"):
        (tmp_path / name).touch()
    assert checkpoint.newest(tmp_path) == tmp_path / "step_1"
    assert list(checkpoint.load(tmp_path / "step_1")[1]) == ["a"]
    checkpoint.forget(tmp_path, 1)
    assert files(tmp_path) == [".DS_Store", "._step_1", "step_1", "step_2"]


def test_what_is_forgotten_is_set_aside(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=None)
    (tmp_path / "step_3.left").mkdir()
    (tmp_path / "step_2" / "state.json").write_text("")
    with pytest.warns(UserWarning, match="step_3: kept as step_3.left-2"):
        checkpoint.forget(tmp_path, 1)
    assert files(tmp_path) == ["step_1", "step_2.damaged", "step_3.left", "step_3.left-2"]
    checkpoint.save(tmp_path, 2, {"clock": {"step": 2}}, keep=1)
    assert files(tmp_path) == ["step_2", "step_2.damaged", "step_3.left", "step_3.left-2"]


def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=None)

    def refuse(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for read in (checkpoint.newest, lambda folder: checkpoint.forget(folder, 0)):
        with pytest.raises(UserError, match="step_[12]/manifest.json: cannot be read: Input/output error"):
            read(tmp_path)
    assert files(tmp_path) == ["step_1", "step_2"]


@pytest.mark.parametrize("make", [os.mkfifo, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_lies_in_a_checkpoints_place_is_set_aside_and_never_opened(tmp_path, make):
    for name in ("step_1", "step_1.tmp", "step_2.tmp", "step_1.deleted.tmp"):
        make(tmp_path / name)
    checkpoint.save(tmp_path, 1, {"x": 1}, keep=1)
    assert files(tmp_path) == ["step_1", "step_1.damaged"] and checkpoint.load(tmp_path / "step_1") == (1, {"x": 1})


def test_the_same_checkpoint_is_not_written_again(tmp_path):
    state = {"clock": {"step": 1}, "a": {"w": torch.ones(3)}}
    checkpoint.save(tmp_path, 1, state, 1, "# config")
    (tmp_path / "step_1" / "mark").touch()
    checkpoint.save(tmp_path, 1, state, 1, "# config")
    assert (tmp_path / "step_1" / "mark").exists()
    assert (tmp_path / "step_1" / "run_config.yaml").read_text() == "# config"
    for other, config in (({"clock": {"step": 1}}, "# config"), (state, "# other")):
        checkpoint.save(tmp_path, 1, other, 1, config)
        assert same(checkpoint.load(tmp_path / "step_1")[1], other) and files(tmp_path) == ["step_1"]
        assert not (tmp_path / "step_1" / "mark").exists()


def test_a_checkpoint_whose_replacement_was_killed_is_found(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=None)
    (tmp_path / "step_2").rename(tmp_path / "step_2.old.tmp")
    (tmp_path / "step_1.deleted.tmp").mkdir()
    assert checkpoint.newest(tmp_path) == tmp_path / "step_2.old.tmp"
    assert checkpoint.load(tmp_path / "step_2.old.tmp")[0] == 2
    assert sorted(checkpoint_files.found(tmp_path)) == [1, 2]
    checkpoint.save(tmp_path, 3, {"clock": {"step": 3}}, keep=2)
    assert files(tmp_path) == ["step_2", "step_3"]


@pytest.mark.parametrize("name", ["../secret", "a/b", "/etc/passwd", "", ".hidden", "manifest.json"])
def test_names_in_a_manifest_are_names_of_files_in_it(tmp_path, name):
    checkpoint.save(tmp_path, 1, {"clock": {"step": 1}}, keep=None)
    manifest = json.loads((tmp_path / "step_1" / "manifest.json").read_text())
    for wrong in ({name: "0" * 64}, {"a": 3}):
        (tmp_path / "step_1" / "manifest.json").write_text(json.dumps(manifest | wrong))
        with pytest.raises(UserError, match="manifest.json: '.*' is not a file of a checkpoint$"):
            checkpoint.load(tmp_path / "step_1")


def test_a_checkpoint_of_another_step_than_its_name_is_damaged(tmp_path):
    checkpoint.save(tmp_path, 1, {"clock": {"step": 1}}, keep=None)
    (tmp_path / "step_1").rename(tmp_path / "step_7")
    with pytest.raises(UserError, match="step_7/state.json: not the state of a checkpoint: it is of step 1"):
        checkpoint.load(tmp_path / "step_7")


def test_without_a_checkpoint_there_is_no_newest(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "absent") is None


def missing(path):
    (path / "generator.safetensors").unlink()


def flipped(path):
    content = bytearray((path / "generator.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "generator.safetensors").write_bytes(content)


def truncated(path):
    content = (path / "generator.safetensors").read_bytes()
    (path / "generator.safetensors").write_bytes(content[:-3])


def no_manifest(path):
    (path / "manifest.json").unlink()


def broken_manifest(path):
    (path / "manifest.json").write_text('{"state.json": ')


def edited(path):
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace('"step": 2', '"step": 3', 1))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (missing, r"step_2/generator\.safetensors: missing"),
        (flipped, r"step_2/generator\.safetensors: damaged"),
        (truncated, r"step_2/generator\.safetensors: damaged"),
        (no_manifest, r"step_2/manifest\.json: missing"),
        (broken_manifest, r"step_2/manifest\.json: not valid JSON"),
        (edited, r"step_2/state\.json: damaged"),
    ],
)
def test_damage_is_found_named_and_passed_over(tmp_path, harm, message):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"generator": {"w": torch.ones(3)}}, keep=None)
    harm(tmp_path / "step_2")
    with pytest.raises(UserError, match=message) as caught:
        checkpoint.load(tmp_path / "step_2")
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=message) as warned:
        assert checkpoint.newest(tmp_path) == tmp_path / "step_1"
    assert len(warned) == 1
    checkpoint.load(tmp_path / "step_1")


class Payload:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickles_are_never_executed(tmp_path):
    bait = tmp_path / "executed"
    payload = pickle.dumps(Payload(bait))
    pickle.loads(payload)
    bait.rmdir()  # so the payload works
    checkpoint.save(tmp_path, 1, {"generator": {"w": torch.ones(3)}}, keep=None)
    path = tmp_path / "step_1"
    manifest = json.loads((path / "manifest.json").read_text())
    for name in ("generator.safetensors", "custom_checkpoint_0.pkl", "optimizer.bin", "pytorch_model.bin"):
        (path / name).write_bytes(payload)
        manifest[name] = hashlib.sha256(payload).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="generator.safetensors: not a safetensors file"):
        checkpoint.load(path)
    assert checkpoint.newest(tmp_path) == path
    forge(path, payload)
    with pytest.raises(UserError):
        checkpoint.load(path)
    assert not bait.exists()


@pytest.mark.parametrize(
    "skeleton",
    [
        {"pickle": "gASV"},
        {"dict": [["a", 1]], "tuple": []},
        {},
        {"dict": {"a": 1}},
        {"dict": [["a", 1], ["a", 2]]},
        {"dict": [["a"]]},
        {"dict": [[1.5, 1]]},
        {"dict": [[True, 1]]},
        {"dict": [[["a"], 1]]},
        {"tuple": 3},
        {"float": "1e5"},
        {"float": ["inf"]},
        {"tensor": "absent"},
        {"tensor": 0},
        {"tensor": ["w"]},
        [[{"tensor": "../../w"}]],
    ],
)
def test_crafted_skeletons_are_refused(tmp_path, skeleton):
    checkpoint.save(tmp_path, 1, {"generator": {"w": torch.ones(3)}}, keep=None)
    path = tmp_path / "step_1"
    forge(path, {"format": 1, "step": 1, "parts": {"generator": {"dict": [["w", {"tensor": "w"}]]}}})
    checkpoint.load(path)
    forge(path, {"format": 1, "step": 1, "parts": {"generator": skeleton}})
    with pytest.raises(UserError, match="state.json"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"format": 1, "step": NaN, "parts": {}}',
        b'{"format": 1, "step": true, "parts": {}}',
        b'{"format": 1, "step": 1, "parts": []}',
        b'{"format": 1, "step": 1}',
        b'{"format": 2, "step": 1, "parts": {}}',
        b"[1]",
        b"null",
    ],
)
def test_crafted_documents_are_refused(tmp_path, document):
    checkpoint.save(tmp_path, 1, {"generator": {"w": torch.ones(3)}}, keep=None)
    forge(tmp_path / "step_1", document)
    with pytest.raises(UserError, match="state.json") as caught:
        checkpoint.load(tmp_path / "step_1")
    assert "\n" not in str(caught.value)


def test_manifests_cannot_point_outside(tmp_path):
    checkpoint.save(tmp_path, 1, {"clock": {"step": 1}}, keep=None)
    secret = tmp_path / "secret.safetensors"
    safetensors.torch.save_file({"w": torch.ones(1)}, secret)
    manifest = json.loads((tmp_path / "step_1" / "manifest.json").read_text())
    manifest["../secret.safetensors"] = hashlib.sha256(secret.read_bytes()).hexdigest()
    (tmp_path / "step_1" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest.json: '../secret.safetensors' is not a file of a checkpoint$"):
        checkpoint.load(tmp_path / "step_1")


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, b"x", {1.5: 0}, {(1, 2): 0}, {True: 0}, lambda: 0])
def test_what_cannot_be_saved_is_named_before_anything_is_written(tmp_path, value):
    checkpoint.save(tmp_path, 1, {"clock": {"step": 1}}, keep=1)
    with pytest.raises(UserError, match=r"outer\.base\.0: cannot save a"):
        checkpoint.save(tmp_path, 2, {"clock": {}, "outer": {"base": [value]}}, keep=1)
    assert files(tmp_path) == ["step_1"]


@pytest.mark.parametrize("part", ["../evil", "a/b", "", ".hidden"])
def test_parts_that_cannot_name_a_file_are_refused(tmp_path, part):
    with pytest.raises(UserError, match="cannot name a file"):
        checkpoint.save(tmp_path, 1, {part: {}}, keep=1)


def test_dicts_of_other_classes_become_plain(tmp_path):
    checkpoint.save(tmp_path, 1, {"a": {"o": OrderedDict(x=1), "c": Counter("aab")}}, keep=1)
    assert checkpoint.load(tmp_path / "step_1")[1] == {"a": {"o": {"x": 1}, "c": {"a": 2, "b": 1}}}


def full_disk(folder: Path) -> list[str]:
    """What is said where files may have a hundred thousand bytes and need more."""
    checkpoint.save(folder, 1, {"a": {"w": torch.ones(10)}}, keep=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    said = []
    for state in ({"a": {"w": torch.ones(100_000)}}, {"a": {"w": torch.ones(3), "l": list(range(100_000))}}):
        with pytest.raises(UserError) as caught:
            checkpoint.save(folder, 2, state, keep=1)
        said.append(str(caught.value))
    return said


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint(tmp_path):
    (lines,) = together(full_disk, tmp_path, world=1)
    for line, name in zip(lines, ("a.safetensors", "state.json"), strict=True):
        found = re.search(rf"step_2\.tmp/{name}: cannot be written: File too large; (\S+) of its (\S+) bytes", line)
        missing, size = (int(number.replace(",", "")) for number in found.groups())
        assert size > 400_000 and missing == size - 100_000
    assert files(tmp_path) == ["step_1"]
    assert torch.equal(checkpoint.load(tmp_path / "step_1")[1]["a"]["w"], torch.ones(10))


def save_for_ever(folder: str, arguments: tuple[str, ...], files: list[str], environment: dict[str, str]) -> None:
    """Save one checkpoint after the other, and write down which ones are whole."""
    step = int(arguments[0])
    with open(files[0], "w") as output:
        while True:
            state = {"generator": {"w": torch.full((50_000,), float(step))}, "clock": {"step": step}}
            checkpoint.save(Path(folder), step, state, keep=2)
            print(step, file=output, flush=True)
            step += 1


def test_killed_at_any_moment_it_leaves_whole_checkpoints(tmp_path):
    step = 0
    for delay in torch.rand(2).mul(0.05).tolist():
        process = Command(tmp_path, str(step), target=save_for_ever)
        until(lambda process=process: process.output.count("\n") >= 3)
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        written = [int(line) for line in process.output.split()]
        for file in process.files:
            file.unlink()
        path = checkpoint.newest(tmp_path)
        folders = [entry for entry in tmp_path.iterdir() if not entry.name.endswith(".tmp")]
        assert 2 <= len(folders) <= 3  # killed between the rename and the pruning, one more is there
        for folder in folders:
            number, state = checkpoint.load(folder)
            assert folder.name == f"step_{number}" and state["clock"] == {"step": number}
            assert torch.equal(state["generator"]["w"], torch.full((50_000,), float(number)))
        step = int(path.name[5:])
        assert not written or step >= written[-1]
        step += 1
    checkpoint.save(tmp_path, step, {"clock": {"step": step}}, keep=2)
    assert len(files(tmp_path)) == 2  # what the killed processes left is gone


def die_at_each_call(parent: Path) -> None:
    """Save a third checkpoint in processes that die at their first call of the system, at their second, and so on."""

    def save(folder, step, keep):
        checkpoint.save(folder, step, {"clock": {"step": step}, "a": {"w": torch.ones(2)}}, keep)

    calls = []

    def deadly(function, fatal):
        def call(*arguments, **keywords):
            if len(calls) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            calls.append(function)
            return function(*arguments, **keywords)

        return call

    for fatal in range(100):
        folder = parent / str(fatal)
        folder.mkdir()
        save(folder, 1, None)
        save(folder, 2, None)
        child = os.fork()
        if not child:
            for module, name in ((os, "rename"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree"), (Path, "rename")):
                setattr(module, name, deadly(getattr(module, name), fatal))
            save(folder, 3, 1)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break


def test_killed_before_any_call_of_the_system_it_leaves_whole_checkpoints(tmp_path):
    together(die_at_each_call, tmp_path, world=1)
    newest = []
    for fatal in range(len(files(tmp_path))):
        folder = tmp_path / str(fatal)
        for entry in folder.iterdir():
            if not entry.name.endswith(".tmp"):
                checkpoint.load(entry)
        newest.append(checkpoint.newest(folder).name)
    assert newest == sorted(newest)
    assert newest.count("step_2") >= 5 and newest.count("step_3") >= 3
    assert files(folder) == ["step_3"]  # the last child was not killed
