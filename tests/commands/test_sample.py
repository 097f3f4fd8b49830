from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from emulated_device import emulated
from forked import Command, gantrain
from tiny import DIGITS, RING, config_of, state

from gantrain.builders import make_game
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.config.parts import build
from gantrain.errors import UserError
from gantrain.plotting.images import grid, load_png, quantised
from gantrain.runs.folder import open_run
from gantrain.utils.seeding import derive


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that keeps an average of its weights, with two checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    return train(config_of(DIGITS, folder, "run.steps=6", "checkpoint.every=3", "game.conditional=true", "log.every=3"))


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> Path:
    return train(config_of(RING, tmp_path_factory.mktemp("points"), "run.steps=2", "ema=null"))


def take(run, number=7, seed=0, step=None, weights=None, output=None, images=False, overwrite=False):
    return sample_run(str(run), number, seed, step, weights, output, images, overwrite)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("weights", ["ema", "live"])
@pytest.mark.parametrize("step", [3, 6])
def test_samples_are_those_of_the_weights_in_the_checkpoint(run, tmp_path, weights, step):
    _, config = open_run(run)
    game = make_game(config, build("data", config.data.part))
    of = state(run, step)
    tensors = of["generator"] if weights == "live" else {k: v for k, v in of["ema"].items() if k != "n_averaged"}
    game.generator.load_state_dict(tensors)
    expected = game.sample(7, derive(5, "sample"))
    assert expected.std() > 0.01
    folder = take(run, seed=5, step=step, weights=weights, output=tmp_path / "folder", images=True)
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:05d}.png" for i in range(7)]
    for i, image in enumerate(quantised(expected)):
        assert torch.equal(load_png(folder / f"{i:05d}.png"), image.expand(3, 8, 8))
    picture = take(run, seed=5, step=step, weights=weights, output=tmp_path / "deep" / "grid.png")
    assert torch.equal(load_png(picture), grid(expected))


def test_the_newest_average_is_sampled_unless_asked_otherwise(run, tmp_path):
    picture = take(run)
    assert picture == run / "samples" / "ema_step_6_seed_0.png"
    assert torch.equal(load_png(picture), load_png(take(run, step=6, weights="ema", output=tmp_path / "a.png")))
    others = [take(run, **o, output=tmp_path / f"{i}.png") for i, o in enumerate([{"step": 3}, {"weights": "live"}])]
    assert all(not torch.equal(load_png(picture), load_png(other)) for other in others)


def test_a_seed_gives_the_same_files_and_another_seed_others(run, tmp_path):
    first, again, other = (
        contents(take(run, seed=seed, output=tmp_path / name, images=True))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again and not set(first.values()) & set(other.values())
    more = contents(take(run, number=9, seed=1, output=tmp_path / "more", images=True))
    assert len(more) == 9


def test_samples_never_lie_among_earlier_ones(run, tmp_path):
    folder = tmp_path / "out"
    take(run, 5, 1, output=folder, images=True)
    before = contents(folder)
    with pytest.raises(UserError, match="out: holds 5 earlier samples; add --overwrite to delete them first"):
        take(run, 3, 2, output=folder, images=True)
    assert contents(folder) == before
    (folder / ".DS_Store").touch()
    take(run, 3, 2, output=folder, images=True, overwrite=True)
    (folder / ".DS_Store").unlink()
    assert contents(folder) == contents(take(run, 3, 2, output=tmp_path / "other", images=True))
    with pytest.raises(UserError, match="out: is a folder; name a file for the grid, or add --images"):
        take(run, 3, 2, output=folder)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match="link: is no folder; choose another --output"):
        take(run, 3, 2, output=tmp_path / "link", images=True)
    (folder / "mine.png").touch()
    for overwrite in (False, True):
        with pytest.raises(UserError, match="out: holds mine.png, which is no sample; choose another --output"):
            take(run, 3, 2, output=folder, images=True, overwrite=overwrite)
    assert len(contents(folder)) == 4
    with pytest.raises(UserError, match="--overwrite goes with --images"):
        take(run, output=tmp_path / "grid.png", overwrite=True)


def test_sampling_leaves_the_run_and_the_random_state_alone(run, tmp_path):
    before, drawn = contents(run), torch.get_rng_state()
    take(run, output=tmp_path / "grid.png")
    assert contents(run) == before and torch.equal(torch.get_rng_state(), drawn)


def test_points_become_a_plot(points):
    picture = take(points)
    assert picture.name == "live_step_2_seed_0.png" and load_png(picture).shape[0] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 7}, r"no whole checkpoint of step 7; there are \[2\]"),
        ({"weights": "ema"}, "this run keeps no average of its weights; use --weights live"),
        ({"images": True}, "the samples are points, not images"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(points, options, message):
    with pytest.raises(UserError, match=message) as caught:
        take(points, **options)
    assert "\n" not in str(caught.value)


def test_the_command_says_where_the_samples_are(run, tmp_path):
    command = gantrain(tmp_path, "sample", str(run), "--number", "3", "--images", "--output", "out", "--seed", "4")
    assert command.output == "out\n" and command.errors == ""
    assert contents(tmp_path / "out") == contents(take(run, 3, 4, output=tmp_path / "same", images=True))


def test_a_path_without_a_run_is_one_line(tmp_path):
    command = Command(tmp_path, "sample", "nowhere")
    assert command.wait() == 2
    assert command.errors == (
        f"gantrain: nowhere: no run here: there is nothing at nowhere in {tmp_path}; expected a folder with "
        "config.yaml, as under checkpoints/\n"
    )


def test_a_file_where_a_folder_should_be_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    command = Command(tmp_path, "sample", str(run), "--output", "file/grid.png")
    assert command.wait() == 2
    assert command.errors in ("gantrain: file: File exists\n", "gantrain: file: Not a directory\n")


def test_samples_are_drawn_on_the_device_and_written_from_the_cpu(run, points, tmp_path, monkeypatch):
    expected = contents(take(run, output=tmp_path / "cpu", images=True))
    with emulated() as device:
        monkeypatch.setattr("gantrain.commands.sample.find_device", lambda asked, key: device)
        assert contents(take(run, output=tmp_path / "device", images=True)) == expected
        assert take(run, output=tmp_path / "grid.png").is_file()
        assert take(points, output=tmp_path / "points.png").is_file()


def test_a_gpu_that_is_missing_or_full_is_one_line(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="^--device: cuda was asked for, but this machine has no usable GPU"):
        sample_run(str(run), 7, 0, None, None, None, False, device="cuda")

    def fill(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("gantrain.commands.sample.load", fill)
    full = "^sample: out of memory on the GPU: 2.50 GiB more were asked for, for 7 samples; try fewer, or --device cpu$"
    with pytest.raises(UserError, match=full):
        sample_run(str(run), 7, 0, None, None, None, False)
