"""What a run leaves when it ends: the pictures of its whole history, and how it is trained further."""

from __future__ import annotations

import shlex
import shutil

import pytest
from forked import Command, gantrain, until
from PIL import Image
from tiny import DIGITS, RING, write

from gantrain.commands.train import train
from gantrain.config.clock import Clock
from gantrain.config.sections import Run
from gantrain.errors import Diverged, Notice
from gantrain.runs.summary import summarise
from gantrain.train import loop
from gantrain.train.callbacks.samples import SampleGrid
from gantrain.train.further import how_to_go_on, how_to_resume, larger_budgets


def frames(gif) -> list[tuple[tuple[int, int], int]]:
    """The size of each frame of a GIF file, and for how many milliseconds it is shown."""
    with Image.open(gif) as image:
        found = []
        for place in range(image.n_frames):
            image.seek(place)
            found.append((image.size, image.info["duration"]))
        return found


def test_a_run_that_ends_shows_its_history_also_what_was_before_it_was_resumed(digits):
    folder = train(digits("run.steps=6", "samples.every=2", "log.curves=true"))
    first = frames(folder / "samples" / "over_time.gif")
    assert len(first) == 3 and [shown for _, shown in first] == [160, 160, 2000]
    curves = (folder / "curves.png").read_bytes()
    train(digits("run.steps=10", "samples.every=2", "log.curves=true"), resume=True)
    second = frames(folder / "samples" / "over_time.gif")
    assert len(second) == 5 and {size for size, _ in first + second} == {first[0][0]}
    with Image.open(folder / "curves.png") as image:
        assert image.width > 1000
    assert (folder / "curves.png").read_bytes() != curves


def test_a_run_that_diverged_shows_its_history_too(ring, tmp_path):
    with pytest.raises(Diverged):
        train(ring("run.steps=400", "log.curves=true", "game.discriminator.optimizer={name: sgd, lr: 30}"))
    assert (tmp_path / "ring" / "curves.png").exists()


def test_where_they_are_off_there_are_none(digits):
    folder = train(digits("run.steps=4", "samples=null", "log.curves=false"))
    assert not (folder / "samples").exists() and not (folder / "curves.png").exists()


def test_many_and_large_pictures_make_no_large_gif(tmp_path):
    samples = tmp_path / "samples"
    samples.mkdir()
    for step in range(60):
        Image.new("RGBA", (650, 350), (4 * step, 0, 0, 255)).save(samples / f"step_{step:06d}.png", compress_level=1)
    Image.new("RGB", (10, 10)).save(samples / "step_000003.png")  # of a run that had other samples then
    (samples / "step_000004.png").write_bytes(b"no picture")
    SampleGrid.finish(SampleGrid.__new__(SampleGrid), tmp_path)
    found = frames(samples / "over_time.gif")
    assert len(found) == 50 and {size for size, _ in found} == {(512, 276 + 18)}


def test_a_picture_that_cannot_be_drawn_fails_nothing(ring, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("of the figure")

    monkeypatch.setattr(loop, "draw_curves", fail)
    monkeypatch.setattr(SampleGrid, "finish", fail)
    with pytest.warns(Notice, match="step 4: the curves: .*ZeroDivisionError: of the figure") as told:
        folder = train(ring("run.steps=4", "log.curves=true", "samples.every=4"))
    assert any("step 4: SampleGrid: " in str(each.message) for each in told)
    assert summarise(folder).state == "finished"


def test_the_command_at_the_end_of_a_run_trains_it_further(tmp_path):
    config = write(tmp_path, RING, "run.steps=4", "samples=null")
    shutil.move(tmp_path / config, tmp_path / "my config.yaml")
    first = gantrain(tmp_path, "train", "my config.yaml", "run.name=a b", "log.every=3", "run.gradients=50")
    finished, further = first.output.splitlines()[-2:]
    assert finished == "finished at step 4; the run is in a b"
    label, _, command = further.partition(": gantrain ")
    assert label == "to train it further" and command.startswith("train 'my config.yaml' --resume 'run.name=a b'")
    second = gantrain(tmp_path, *shlex.split(command))
    assert "\nfinished at step 8; " in second.output


def test_a_run_that_was_finished_says_so(ring, capsys):
    train(ring("run.steps=4"))
    folder = train(ring("run.steps=4"), resume=True)
    finished, further = capsys.readouterr().out.splitlines()[-2:]
    assert finished == f"already finished at step 4; the run is in {folder}"
    assert further == "to train it further, start it as before with --resume run.steps=8"


@pytest.mark.parametrize(
    ("budgets", "larger"),
    [
        ({"steps": 3000}, {"steps": 6000}),
        ({"kimg": 0.75}, {"kimg": 1.5}),
        ({"steps": 50, "gradients": 3000}, {"steps": 200, "gradients": 6000}),
    ],
)
def test_budgets_that_are_twice_what_was_used(budgets, larger):
    run = Run(name="any", **budgets)
    assert larger_budgets(run, Clock(steps=100, images=320, gradients=3000)) == larger


def test_a_run_of_a_launcher_or_of_a_program_says_what_to_change():
    assert how_to_go_on({"steps": 6}, None, in_python=False).endswith("start it as before with --resume run.steps=6")
    assert how_to_go_on({"kimg": 0.5}, None, in_python=True).endswith(
        "build it with gt.Run(…, kimg=0.5) and call fit(resume=True)"
    )


def test_a_stopped_run_says_how_it_goes_on():
    words = ["gantrain", "train", "my config.yaml", "--resume"]
    assert how_to_resume(words, in_python=False) == "to go on: gantrain train 'my config.yaml' --resume"
    assert how_to_resume(None, in_python=False) == "go on with --resume"
    assert how_to_resume(None, in_python=True) == "go on with fit(resume=True)"


def test_a_run_whose_learning_rates_are_at_their_end_is_not_trained_further(ring, capsys):
    scheduler = "game.generator.scheduler={name: onecyclelr, max_lr: 0.01, total_steps: 4}"
    train(ring("run.steps=4", scheduler))
    assert capsys.readouterr().out.splitlines()[-1].startswith("finished at step 4")


@pytest.mark.slow
def test_an_interrupted_run_has_its_pictures_too(tmp_path):
    config = write(
        tmp_path, DIGITS, "run.steps=1000000", "samples.every=20", "log.curves=true", "checkpoint.every=1000"
    )
    command = Command(tmp_path, "train", config)
    until(lambda: len(list(tmp_path.glob("digits/samples/step_*.png"))) > 1 or not command.running())
    command.kill(2)
    assert command.wait() == 130, command.errors
    assert (tmp_path / "digits" / "curves.png").exists() and (tmp_path / "digits/samples/over_time.gif").exists()
