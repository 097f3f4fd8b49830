"""A run goes on with the data it began with, or says how they differ and stops."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import DIGITS, config_of, same, state

from gantrain.commands.train import train
from gantrain.errors import UserError
from gantrain.runs.data_record import RECORD

DATA = "data={name: image_folder, path: PATH, channels: 1, batch_size: 4, workers: 0}"


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def config(pictures, steps, *overrides, folder=None):
    data = DATA.replace("PATH", str(pictures))
    return config_of(DIGITS, folder or pictures.parent, data, f"run.steps={steps}", "ema=null", *overrides)


def refused(pictures, message, *overrides):
    """A resumed run is refused with this message, and nothing is written."""
    before = {
        p: p.read_bytes() for p in (pictures.parent / "digits").rglob("*") if p.is_file() and "tfevents" not in p.name
    }
    with pytest.raises(UserError, match=message) as raised:
        train(config(pictures, 4, *overrides), resume=True)
    assert "\n" not in str(raised.value)
    assert before == {p: p.read_bytes() for p in before}


def test_data_that_changed_stop_a_resumed_run_until_they_are_accepted(pictures, capsys):
    run = train(config(pictures, 2))
    for name in ("a/2.bmp", "b/3.bmp"):
        (pictures / name).unlink()
    found = "6 samples instead of 8, 2 files are missing, such as a/2.bmp"
    refused(
        pictures, f"^data: {found}, compared with the data on which .*digits was trained; put them back, or add --acc"
    )
    train(config(pictures, 4), resume=True, accept_data=True)
    assert f"data: {found}; going on with the data as they are" in capsys.readouterr().out
    train(config(pictures, 5), resume=True)
    assert state(run)["clock"]["step"] == 5
    content = bytearray((pictures / "a/0.bmp").read_bytes())
    content[-1] ^= 1
    (pictures / "a/0.bmp").write_bytes(content)
    refused(pictures, "^data: files with other content, compared with")
    train(config(pictures, 6), overwrite=True)


def test_data_may_move_and_be_kept_elsewhere(pictures, tmp_path):
    whole = train(config(pictures, 4, folder=tmp_path / "whole"))
    train(config(pictures, 2, "data.storage=disk"))
    moved = tmp_path / "moved"
    shutil.move(pictures, moved / "pictures")
    run = train(config(moved / "pictures", 3, folder=tmp_path), resume=True)
    run = train(config(moved / "pictures", 4, "data.storage=disk", folder=tmp_path), resume=True)
    assert same(state(whole), state(run))
    # The content is known since the samples were held in memory.
    content = bytearray((moved / "pictures/a/0.bmp").read_bytes())
    content[-1] ^= 1
    (moved / "pictures/a/0.bmp").write_bytes(content)
    with pytest.raises(UserError, match="^data: files with other content"):
        train(config(moved / "pictures", 5, folder=tmp_path), resume=True)


def test_a_run_of_an_earlier_version_has_no_record_and_gets_one(pictures):
    run = train(config(pictures, 2))
    (run / RECORD).unlink()
    (pictures / "a/2.bmp").unlink()
    train(config(pictures, 3), resume=True)
    (pictures / "a/4.bmp").unlink()
    refused(pictures, "^data: 6 samples instead of 7, a/4.bmp is missing")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"samples": {}}', b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_one_line(pictures, content):
    run = train(config(pictures, 2))
    (run / RECORD).write_bytes(content)
    refused(
        pictures, "data.json: is damaged, and cannot say on which data the run was trained .*; add --accept-data to"
    )
    (run / RECORD).unlink()
    os.mkfifo(run / RECORD)
    with pytest.raises(UserError, match="data.json: cannot be read: is a FIFO, expected a file"):
        train(config(pictures, 3), resume=True)


def test_a_run_inside_its_own_data_is_no_part_of_them(pictures, recwarn):
    for steps in (2, 4):
        run = train(config(pictures, steps, "samples.every=1", folder=pictures / "runs"), resume=True)
    assert list((run / "samples").glob("*.png")) and torch.tensor(state(run)["clock"]["step"]) == 4
    assert any("written by gantrain (runs/digits/samples/" in str(w.message) for w in recwarn)
