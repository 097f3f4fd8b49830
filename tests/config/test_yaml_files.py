"""YAML 1.2's core schema: numbers, text and errors as a user expects them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from gantrain.config import yaml_files
from gantrain.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        ("2.0e-4", 2e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("3", 3),
        ("+3", 3),
        ("-3", -3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        # Text here, though something else in YAML 1.1.
        ("on", "on"),
        ("no", "no"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("1e", "1e"),
        ("e3", "e3"),
        (".", "."),
        ("<<", "<<"),
        ("=", "="),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("[0, 0.9]", [0, 0.9]),
        ("{a: 1e3, b: {c: null}}", {"a": 1000.0, "b": {"c": None}}),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
        ("{a: &x {l: 1, m: 2}, b: {<<: *x, m: 3}}", {"a": {"l": 1, "m": 2}, "b": {"l": 1, "m": 3}}),
        ("{<<: [{a: 1}, {a: 2, b: 3}], c: 4}", {"a": 1, "b": 3, "c": 4}),
        ("{<<: &x {a: 1, <<: {a: 2, b: 3}}, c: *x}", {"a": 1, "b": 3, "c": {"a": 1, "b": 3}}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)
def test_values(text, value):
    parsed = yaml_files.parse(text, "x")
    assert parsed == value and type(parsed) is type(value)


def test_nan():
    assert math.isnan(yaml_files.parse(".nan", "x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", r"x:2:2: .*expected ',' or '\]'.*"),
        ("a: 1\nb: 2\na: 3\n", "x:3:1: duplicate key 'a'"),
        ("a: {b: 1, c: 2, b: 3}\n", "x:1:17: duplicate key 'b'"),
        ("a:\n\tb: 1\n", r"x:2:1: found character '\\t' that cannot start any token"),
        ("3: a\n", "x:1:1: keys must be text, got 3"),
        ("? [a]\n: 3\n", r"x:1:3: keys must be text, got \['a'\]"),
        ("true: a\n", "x:1:1: keys must be text, got true"),
        (
            "a: !!python/object:os.system ls\n",
            "x:1:4: the tag '!!python/object:os.system' cannot be read; leave it out.*",
        ),
        ("a: &b {c: *b}\n", "x:1:4: a value that contains itself cannot be read"),
        ("a: !!int abc\n", "x:1:4: 'abc' cannot be read as int"),
        ("a: !!bool maybe\n", "x:1:4: 'maybe' cannot be read as bool"),
        (f"a: {'9' * 5000}\n", r"x:1:4: '999.*\.\.\. cannot be read as int"),
        ("a\n---\nb\n", "x:2:1: .*another document"),
        ("a: \x01", "x: not YAML: unacceptable character.*"),
        ("[" * 3000, "x: nested too deeply"),
        ("a: " + "[" * 65 + "]" * 65, "x:1:4: nested too deeply; expected at most 64 .*"),
        ("a: !!binary aGk=", "x:1:4: the tag '!!binary' cannot be read; leave it out, .*"),
        ("a: !!set {b, c}", "x:1:4: the tag '!!set' cannot be read; .*"),
        ("!!timestamp 2001-01-01: 3", "x:1:1: the tag '!!timestamp' cannot be read; .*"),
        ("a: !mine 3", "x:1:4: the tag '!mine' cannot be read; .*"),
        ("a: !!int [1]", "x:1:4: the tag '!!int' cannot be read; .*"),
        (r'a: "\ud800"', r"x:1:4: '\\ud800' cannot be read as str"),
        (r'"\UFFFFFFFF"', "x: not YAML: .*"),
        (f"a: 0x{'f' * 5000}", r"x:1:4: '0xff.*\.\.\. cannot be read as int"),
        ("<<: 3", "x:1:5: <<: expected a mapping or a list of mappings .*"),
        ("<<: [{a: 1}, 3]", "x:1:5: <<: expected a mapping or a list of mappings .*"),
        ("{<<: {a: 1, a: 2}}", "x:1:13: duplicate key 'a'"),
        ("x" * (yaml_files.LARGEST + 1), "x: too large for a config; .*"),
    ],
)
def test_what_does_not_parse_is_one_line_with_its_place(text, message):
    with pytest.raises(UserError, match=f"^{message}$") as error:
        yaml_files.parse(text, "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "on",
            "no",
            "1e3",
            "1e-3",
            "3",
            "null",
            "~",
            "",
            "true",
            "0x1F",
            "a: b",
            "- a",
            "# a",
            " a",
            "2001-01-01",
            "ä",
        ),
        *("line\nline", "=", "<<", "'", '"', ".5", ".inf", "*a", "&a", "!a", "{", "12:30"),
        *(1, -3, 1e-3, 1e300, 5e-324, 0.1, 1e16, math.inf, -math.inf, True, False, None),
    ],
)
def test_what_is_written_is_read_back(value):
    content = {"a": value, "b": [value, {"c": value}], "d": {}, "e": []}
    read = yaml_files.parse(yaml_files.text(content), "x")
    assert read == content and type(read["a"]) is type(value)


def test_keys_stay_in_their_order_and_values_are_written_out():
    shared = [1]
    assert yaml_files.text({"b": shared, "a": shared}) == "b:\n- 1\na:\n- 1\n"


def test_files(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("\ufeffname: ä\r\n", encoding="utf-8")
    assert yaml_files.read(path) == {"name": "ä"}
    path.write_text("# nothing\n")
    assert yaml_files.read(path) == {}
    for content, message in {
        b"- a": r"a.yaml: expected a mapping of keys to values, got \['a'\]",
        b"3": "a.yaml: expected a mapping of keys to values, got 3",
        b"a: \xff": "a.yaml: cannot be read: not UTF-8 text",
    }.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            yaml_files.read(path)
    with pytest.raises(UserError, match="b.yaml: no such file$"):
        yaml_files.read(tmp_path / "b.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory$"):
        yaml_files.read(tmp_path)


@pytest.mark.parametrize(("first", "way"), [("[x]", "[{}]"), ("{k: x}", "[{}]"), ("{k: x}", "{{<<: [{}]}}")])
def test_aliases_that_multiply_are_refused_before_anything_is_built(first, way):
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {way.format(', '.join([f'*a{i - 1}'] * 10))}" for i in range(1, 40)]
    with pytest.raises(UserError, match=r"^x:\d+:\d+: too large with its aliases written out; .*$"):
        yaml_files.parse("\n".join(lines), "x")


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(UserError, match="is a pipe or a device; expected a file of YAML text$"):
            yaml_files.read(path)
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(93_000_000)
    with pytest.raises(UserError, match="large.yaml: too large for a config; expected at most 262,144 bytes$"):
        yaml_files.read(tmp_path / "large.yaml")
    for name, message in {"a\nb": r"'.*a\\nb': no such file", "a\0b": ".*: cannot be read: embedded null byte"}.items():
        with pytest.raises(UserError, match=f"^{message}$"):
            yaml_files.read(tmp_path / name)
