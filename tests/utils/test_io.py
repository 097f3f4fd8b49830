"""Files and folders that appear whole or not at all: what stays when the writing fails."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
from pathlib import Path

import pytest

from gantrain.errors import UserError
from gantrain.utils.io import (
    append,
    bring_back,
    make_folder,
    open_regular,
    remove_folder,
    replacing_folder,
    require_free,
    set_aside,
    write_csv,
    write_file,
)
from gantrain.utils.system_files import is_system_file


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


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "hidden").symlink_to("fifo")
    here = os.getcwd()
    os.chdir(tmp_path)  # the name of a socket may not be long
    try:
        socket.socket(socket.AF_UNIX).bind("socket")
    finally:
        os.chdir(here)
    refused = {"fifo": "a FIFO", "hidden": "a FIFO", "socket": "a socket", "/dev/zero": "a device", ".": "a folder"}
    for name, kind in refused.items():
        with pytest.raises(OSError) as raised:
            open_regular(tmp_path / name)
        assert raised.value.strerror == f"is {kind}, expected a file" and raised.value.filename == str(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")


class Killed(BaseException):
    """Stands for a process that is killed: nothing runs after it that the process would have done."""


def test_killed_at_any_rename_a_folder_is_there_as_it_was_or_as_it_will_be(tmp_path, monkeypatch):
    found = []
    for fatal in range(12):
        place = tmp_path / str(fatal) / "results"
        with replacing_folder(place) as folder:
            (folder / "old").touch()
        calls = iter(range(100))

        def deadly(function, calls=calls, fatal=fatal):
            def call(*arguments, **keywords):
                if next(calls) >= fatal:
                    raise Killed
                return function(*arguments, **keywords)

            return call

        with monkeypatch.context() as patch:
            for module, name in ((os, "rename"), (os, "fsync"), (os, "mkdir"), (shutil, "rmtree"), (Path, "rename")):
                patch.setattr(module, name, deadly(getattr(module, name)))
            try:
                with replacing_folder(place, durable=True) as folder:
                    (folder / "new").touch()
            except Killed:
                pass
        if not place.exists():
            # Between the two renames. Who comes next, finds it.
            assert names(place.with_name("results.old.tmp")) == ["old"]
            bring_back(place)
        assert names(place) in (["old"], ["new"])
        found += names(place)
        with replacing_folder(place) as folder:
            (folder / "newer").touch()
        assert names(place) == ["newer"] and names(place.parent) == ["results"]
    assert found == sorted(found, reverse=True) and {"old", "new"} == set(found)


def test_where_the_second_rename_fails_the_folder_gets_its_name_back(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "a") as folder:
        (folder / "old").touch()
    rename = os.rename

    def refuse(source, target):
        if str(source).endswith("a.tmp"):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(UserError, match="/a: cannot be written: Input/output error"), replacing_folder(tmp_path / "a"):
        pass
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["old"]


@pytest.mark.parametrize("target", [None, "/dev/null", "elsewhere", "missing"])
def test_a_file_or_link_in_the_place_of_a_folder_is_set_aside(tmp_path, target):
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "results"
    if target is None:
        place.write_text("notes")
    else:
        place.symlink_to(target)
    with replacing_folder(place) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["elsewhere", "results", "results.damaged"] and names(place) == ["new"]
    assert (tmp_path / "results.damaged").is_symlink() == (target is not None)
    assert names(tmp_path / "elsewhere") == []


def test_what_is_set_aside_gets_a_name_that_is_free(tmp_path):
    for number in range(3):
        (tmp_path / "step_5").write_text(str(number))
        set_aside(tmp_path / "step_5", "damaged")
    assert names(tmp_path) == ["step_5.damaged", "step_5.damaged-2", "step_5.damaged-3"]
    assert (tmp_path / "step_5.damaged-3").read_text() == "2"


class Full:
    """A file on a disk with room for some bytes."""

    def __init__(self, path, room, number):
        self.file, self.room, self.number = path.open("ab", buffering=0), room, number

    def write(self, content):
        if not self.room:
            raise OSError(self.number, os.strerror(self.number))
        count = self.file.write(content[: min(self.room, 7)])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_what_has_no_room_names_the_file_and_the_missing_bytes_and_leaves_nothing(tmp_path, number):
    path = tmp_path / "rows"
    path.write_text("first\n")
    with pytest.raises(UserError) as caught:
        append(Full(path, 1000, number), b"x" * 2500, path)
    room = "; 1,500 of its 2,500 bytes are missing; " if number != errno.EIO else ""
    assert str(caught.value).startswith(f"{path}: cannot be written: {os.strerror(number)}{room}")
    assert path.read_text() == "first\n"


def test_a_limit_of_the_system_is_said_like_a_full_disk(tmp_path):
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            write_file(tmp_path / "a", b"x" * 2500)
        except UserError as error:
            said = "/a: cannot be written: File too large; 1,500 of its 2,500 bytes are missing; raise the limit"
            code = 0 if said in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0 and names(tmp_path) == []


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: cannot be written: it is a device or a pipe"):
        write_file(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_files_of_operating_systems_do_not_occupy_a_folder(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "._x", "desktop.ini", ".nfs0001"):
        (tmp_path / name).touch()
    require_free(tmp_path, "map.png", "the map", "a map")
    assert not any(is_system_file(name) for name in ("config.yaml", ".git", "x._", "step_5", "DS_Store"))
