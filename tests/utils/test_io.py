"""Files and folders that appear whole or not at all: what stays when the writing fails."""

from __future__ import annotations

import os

import pytest

from gantrain.errors import UserError
from gantrain.utils.io import (
    make_folder,
    remove_folder,
    replacing_folder,
    require_free,
    write_csv,
    write_file,
)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_replaces_an_earlier_one_and_leaves_nothing_beside_it(tmp_path, durable):
    for content in (b"\x00old", "nü"):
        write_file(tmp_path / "a", content, durable)
    assert (tmp_path / "a").read_bytes() == "nü".encode() and names(tmp_path) == ["a"]


def test_where_the_rename_fails_the_earlier_file_stays_and_the_error_names_the_file(tmp_path, monkeypatch):
    write_file(tmp_path / "a", "old")

    def refuse(source, target):
        raise PermissionError(13, "Permission denied", source, None, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="/a: cannot be written: Permission denied$"):
        write_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_a_csv_file_quotes_what_has_commas(tmp_path):
    write_csv(tmp_path / "a.csv", [["x", "y"], [1, "a,b"]])
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n1,"a,b"\n'


@pytest.mark.parametrize("durable", [False, True])
def test_a_folder_replaces_an_earlier_one_as_a_whole(tmp_path, durable):
    place = tmp_path / "deep" / "results"
    for name in ("one", "two"):
        with replacing_folder(place, durable) as folder:
            (folder / name).write_text(name)
    assert names(place) == ["two"] and names(place.parent) == ["results"]
    remove_folder(place)
    assert names(place.parent) == []


def test_a_folder_that_could_not_be_filled_leaves_the_earlier_one(tmp_path):
    (tmp_path / "results.tmp").mkdir()
    (tmp_path / "results.tmp" / "of a killed process").touch()
    with replacing_folder(tmp_path / "results") as folder:
        assert names(folder) == []
        (folder / "one").touch()
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "results"):
        1 / 0  # noqa: B018
    assert names(tmp_path) == ["results"] and names(tmp_path / "results") == ["one"]


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/in: cannot be written: Not a directory$"):
        make_folder(tmp_path / "file" / "in")
    with pytest.raises(UserError, match="file: is a file, and the map would lie there; choose another name or"):
        require_free(tmp_path / "file", "map.png", "the map", "a map")
    with pytest.raises(UserError, match="exists and is not a map; choose another name or --output$"):
        require_free(tmp_path, "map.png", "the map", "a map")
    require_free(tmp_path, "file", "the map", "a map")
