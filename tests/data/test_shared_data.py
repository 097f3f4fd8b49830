"""Processes that share the work of a data set: each file is read once, and a host has the samples in memory once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import place_on_host, together
from PIL import Image
from tiny import DIGITS, config_of, same, state

from gantrain.commands.train import train
from gantrain.data import ChannelNorm, ImageArchive, ImageFolder
from gantrain.data.readers.containers import Folder
from gantrain.data.storage import place_samples
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError

IMAGES = 230


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of noise, one of which is damaged, and one of another size."""
    place = tmp_path_factory.mktemp("images")
    source = np.random.default_rng(0)
    for number in range(IMAGES):
        side = 6 if number == 150 else 5
        pixels = source.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    (place / "007.png").write_bytes(b"nothing")
    return place


def read(container: type = Folder) -> list[str]:
    """The names of the files that are read from now on, which the list will hold."""
    names: list[str] = []
    attempt = container._attempt
    container._attempt = lambda self, name, start: (names.append(name), attempt(self, name, start))[1]
    return names


def shared(folder: str, local_world: int) -> dict:
    """What one of several processes has of a data set, and the names of the files that it has read for each part."""
    place_on_host(local_world)
    names, found = read(), {}
    with process_group(cpu=True):
        processes = Processes.launched()
        with processes.sharing():
            data = ImageFolder(folder, on_error="skip")
            found["looked at"], names[:] = list(names), []
            norm = ChannelNorm.of(data)
            found["measured"], names[:] = list(names), []
            place_samples(data, "memory")
            found["kept"], names[:] = list(names), []
        found |= {"norm": dict(norm.named_buffers()), "skipped": data.skipped}
        with processes.raise_on_all():
            found["samples"] = data.samples.clone()
        with processes.raise_on_all():
            if processes.rank == 0:
                data.samples[0, 0, 0, 0] = 255 - data.samples[0, 0, 0, 0]
        found["sees the first's change"] = not torch.equal(data.samples, found["samples"])
    return found


@pytest.mark.parametrize("hosts", [1, 2])
def test_each_file_is_read_once_and_the_numbers_are_those_of_one_process(folder, hosts):
    alone = ImageFolder(str(folder), on_error="skip")
    norm = dict(ChannelNorm.of(alone).named_buffers())
    place_samples(alone, "memory")
    assert alone.skipped == 2
    world = 4
    found = together(shared, str(folder), world // hosts, world=world)
    for each in found:
        assert each["skipped"] == 2 and same(each["norm"], norm) and same(each["samples"], alone.samples)
    usable = IMAGES - 2
    for what, count in (("looked at", IMAGES), ("measured", usable)):
        names = [name for each in found for name in each[what]]
        assert len(names) == len(set(names)) == count, what
    for host in range(hosts):
        there = found[host * world // hosts : (host + 1) * world // hosts]
        assert sum(len(each["kept"]) for each in there) == usable
    assert [each["sees the first's change"] for each in found] == [rank < world // hosts for rank in range(world)]


def failing(folder: str, case: str) -> str:
    """What a process says if something is wrong, in one of them or in all."""
    place_on_host(int(os.environ["WORLD_SIZE"]))
    second = os.environ["RANK"] == "1"
    with process_group(cpu=True):
        try:
            with Processes.launched().sharing():
                elsewhere = case == "no folder" and second
                data = ImageFolder(f"{folder}/none" if elsewhere else folder, on_error="stop")
                place_samples(data, "memory")
                if case == "afterwards" and second:
                    raise UserError("something else")
        except UserError as error:
            return str(error)
    return "nothing"


@pytest.mark.parametrize("case", ["no folder", "damaged", "afterwards"])
def test_what_is_wrong_in_one_process_ends_the_work_of_all_with_its_line(folder, tmp_path, case):
    if case == "afterwards":
        shutil.copytree(folder, tmp_path / "good", ignore=lambda *_: ["007.png", "150.png"])
        folder = tmp_path / "good"
    expected = {"no folder": "none", "damaged": "007.png", "afterwards": "something else"}[case]
    found = together(failing, str(folder), case, world=3)
    assert len(set(found)) == 1 and expected in found[0]


def packed(archive: str) -> torch.Tensor:
    place_on_host(int(os.environ["WORLD_SIZE"]))
    with process_group(cpu=True), Processes.launched().sharing():
        data = ImageArchive(archive, on_error="skip")
        place_samples(data)
        assert data.samples.is_shared()
        return data.samples.clone()


def test_a_compressed_archive_is_unpacked_by_one_process_of_a_host(folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "images"), "gztar", folder)
    expected = ImageArchive(archive, on_error="skip").samples
    assert all(torch.equal(each, expected) for each in together(packed, archive, world=2))


@pytest.mark.slow
def test_a_run_that_shares_its_data_is_the_run_of_one_process(folder, tmp_path):
    overrides = [f"data={{name: image_folder, path: {folder}, size: 8, channels: 1, on_error: skip, batch_size: 32}}"]
    overrides += ["run.steps=3", "samples=null", "data.storage=memory"]
    overrides += [f"game.{player}.optimizer={{name: sgd, lr: 0.05}}" for player in ("generator", "discriminator")]
    train(config_of(DIGITS, tmp_path / "one", *overrides))
    together(trained, str(tmp_path / "two"), overrides)
    one, two = state(tmp_path / "one" / "digits"), state(tmp_path / "two" / "digits")
    for player in ("generator", "discriminator"):
        torch.testing.assert_close(two[player], one[player])


def trained(folder: str, overrides: list[str]) -> None:
    place_on_host(int(os.environ["WORLD_SIZE"]))
    train(config_of(DIGITS, Path(folder), *overrides))
