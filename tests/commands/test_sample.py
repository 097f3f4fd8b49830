from __future__ import annotations

import csv
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from emulated_device import emulated
from forked import Command, gantrain
from PIL import Image
from tiny import DIGITS, RING, config_of, state

from gantrain.builders import make_game
from gantrain.cli import cli
from gantrain.commands import nearest_real as command
from gantrain.commands.nearest_real import file_names
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.config.parts import build
from gantrain.data.datasets.image_files import ImageFolder
from gantrain.errors import Notice, UserError
from gantrain.metrics import make_extractor, neighbours
from gantrain.plotting.images import CAPTION, grid, load_png, png, quantised
from gantrain.runs.folder import open_run
from gantrain.runs.saved import load
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
    return sample_run(str(run), number, seed, step, weights, output, images, overwrite)[0]


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


def test_a_file_is_replaced_only_if_asked_or_if_it_stays_the_same(run, tmp_path):
    grid = take(run, output=tmp_path / "grid.png")
    before = grid.read_bytes()
    take(run, output=grid)
    with pytest.raises(UserError, match="grid.png: exists, with other content; add --overwrite"):
        take(run, seed=1, output=grid)
    assert grid.read_bytes() == before
    assert take(run, seed=1, output=grid, overwrite=True).read_bytes() != before


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


def test_paths_are_the_rows_of_the_grid_and_the_frames_of_the_gif(run, tmp_path):
    more = {"truncation": 0.7, "classes": ["3", "5"], "device": "cpu"}
    out = str(tmp_path / "grid.png"), str(tmp_path / "deep" / "path.gif")
    written = sample_run(str(run), 3, 1, None, None, out[0], False, interpolate=4, gif=out[1], **more)
    assert [str(path) for path in written] == [*out]
    paths = load(run).interpolate(4, 3, 1, [3, 5], 0.7, closed=True)
    assert torch.equal(load_png(written[0]), grid(paths.flatten(0, 1), 4))
    with Image.open(written[1]) as film:
        assert film.info["loop"] == 0 and film.n_frames == 9
        frames = [(film.seek(i), np.array(film.convert("L")))[1] for i in range(9)]
    for frame, image in zip(frames, quantised(paths[:, :-1].flatten(0, 1)), strict=True):
        assert np.array_equal(frame[::6, ::6], image[0].numpy())
    named = sample_run(str(run), 3, 1, None, None, None, False, interpolate=4, fixed_latent=True, **more)
    assert named[0].name == "ema_step_6_seed_1_classes_3,5_truncation_0.7_interpolate_4_fixed_latent.png"
    folder = sample_run(str(run), 3, 1, None, None, str(tmp_path / "all"), True, interpolate=4, **more)[0]
    assert len(contents(folder)) == 12


def test_the_nearest_training_images_stand_beside_the_samples(run, points, tmp_path):
    out = str(tmp_path / "grid.png")
    command = [str(run), *["--number", "3", "--seed", "1", "--device", "cpu", "--output"], out]
    command += ["--neighbours", "--nearest", "2", "--features", "digits-classifier"]
    result = CliRunner().invoke(cli, ["sample", *command], catch_exceptions=False)
    assert result.output.split() == [out, *(f"{out[:-4]}_neighbours{end}" for end in ENDS)]
    opened = load(run)
    samples, data = opened.sample(3, 1), opened.data
    near = {"pixels": neighbours(samples, data, 2)}
    near["digits-classifier"] = neighbours(samples, data, 2, make_extractor("digits-classifier"))
    with open(f"{out[:-4]}_neighbours.csv") as file:
        rows = list(csv.DictReader(file))
    for space, found in near.items():
        listed = [row for row in rows if row["space"] == space]
        assert [int(row["real"]) for row in listed] == found.rows.flatten().tolist()
        assert [float(row["distance"]) for row in listed] == found.distances.flatten().tolist()
        assert [(row["sample"], row["rank"]) for row in listed] == [(s, r) for s in "012" for r in "12"]
    picture = load_png(f"{out[:-4]}_neighbours_pixels.png")
    cell = grid(samples[:1])
    assert picture.shape == (3, 3 * (cell.shape[1] + CAPTION), 3 * cell.shape[2])
    assert torch.equal(picture[:, : cell.shape[1], : cell.shape[2]], cell)
    first = data.decode(data.samples[near["pixels"].rows[0, :1]])
    assert torch.equal(picture[:, : cell.shape[1], cell.shape[2] : 2 * cell.shape[2]], grid(first))
    written = sample_run(str(points), 3, 0, None, None, str(tmp_path / "points.png"), False, neighbours=2)
    assert [path.name for path in written] == ["points.png", "points_neighbours.csv"]


ENDS = ("_pixels.png", "_features.png", ".csv")


def test_a_file_with_a_name_that_is_no_text_is_listed_by_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    for name in (b"\xff.png", "\N{GREEK SMALL LETTER ALPHA}.png".encode()):
        (tmp_path / "images" / os.fsdecode(name)).write_bytes(png(torch.full((1, 8, 8), name[0], dtype=torch.uint8)))
    data = ImageFolder(str(tmp_path / "images"), channels=1)
    saved = SimpleNamespace(data=data, spec=data.spec)
    monkeypatch.setattr(command, "features_of", lambda *_: None)
    files = command.nearest_real(saved, data.decode(data.samples.to("cpu")), 1, None, tmp_path / "samples", False)
    table = files[tmp_path / "samples_neighbours.csv"]
    assert [os.fsdecode(line.rpartition(b",")[2]) for line in table.splitlines()[1:]] == data.samples.names


def test_without_features_neighbours_are_those_of_pixels_and_a_line_says_so(run, tmp_path):
    with pytest.warns(Notice, match="by pixels alone: the run names no features .*--features"):
        written = sample_run(str(run), 2, 0, None, None, str(tmp_path / "g.png"), False, neighbours=1)
    assert [path.name for path in written] == ["g.png", "g_neighbours_pixels.png", "g_neighbours.csv"]


def test_neighbours_in_files_are_named(tmp_path):
    images = {"a/one.png": 0, "b/three.png": 90, "a/two.png": 200}
    for name, level in images.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), level).save(tmp_path / name)
    data = ImageFolder(str(tmp_path), channels=1)
    found = neighbours(torch.full((1, 1, 8, 8), -0.25), data, 3)
    assert [file_names(data)[row] for row in found.rows[0]] == ["b/three.png", "a/one.png", "a/two.png"]
    # Images with alpha are compared as they are seen, over white.
    data = ImageFolder(str(tmp_path), channels=4)
    clear = torch.cat([torch.full((1, 3, 8, 8), -1.0), torch.full((1, 1, 8, 8), -1.0)], dim=1)
    found = neighbours(clear, data, 3)
    assert [file_names(data)[row] for row in found.rows[0]] == ["a/two.png", "b/three.png", "a/one.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gif": "a.gif"}, "^--gif: goes with --interpolate N"),
        ({"fixed_latent": True}, "^--fixed-latent: goes with --interpolate N"),
        ({"features": "inception"}, "^--features: are those in which neighbours are looked for; add --neighbours$"),
        ({"gif": "{out}", "interpolate": 3}, "^--gif: .*out.png is the name of another file"),
        ({"neighbours": 10**6}, "^neighbours: expected from 1 to 1"),
        ({"interpolate": 3, "number": 1}, "^--number: --interpolate connects samples, .* at least 2, got 1"),
    ],
)
@pytest.mark.filterwarnings("ignore::gantrain.errors.Notice")
def test_options_that_do_not_fit_write_nothing(run, tmp_path, options, message):
    out = str(tmp_path / "out.png")
    options = {key: value.format(out=out) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(UserError, match=message) as error:
        sample_run(str(run), options.pop("number", 2), 0, None, None, out, False, **options)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


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
    assert command.errors in [
        f"gantrain: file: cannot be written: {why}\n" for why in ("File exists", "Not a directory")
    ]


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
