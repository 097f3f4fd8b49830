"""Text files as they occur, and what is said about those that are not as they should be."""

from __future__ import annotations

import pytest

from gantrain.data.readers.tables import read
from gantrain.errors import UserError


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_same_rows_in_each_kind_of_file(tmp_path, end):
    lines = {
        "a.csv": ["id,text,label", '0,"one, two",x', "", '1,"say ""no""",y'],
        "a.tsv": ["id\ttext\tlabel", "0\tone, two\tx", "", '1\tsay "no"\ty'],
        "a.jsonl": ['{"text": "one, two", "label": "x", "id": 0}', "", '{"label": "y", "text": "say \\"no\\""}'],
    }
    for name, content in lines.items():
        found = read(written(tmp_path, name, end.join(content)), ["text", "label"])
        first = 1 if name == "a.jsonl" else 2
        assert found == [(first, ["one, two", "x"]), (first + 2, ['say "no"', "y"])], name


@pytest.mark.parametrize(("name", "between"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_text_may_be_of_any_length(tmp_path, name, between):
    text = "word " * 100_000 + "end"
    path = written(tmp_path, name, f"text{between}label\n{text}{between}x\n")
    assert read(path, ["text", "label"]) == [(2, [text, "x"])]


def test_a_file_without_header_is_read_by_position(tmp_path):
    path = written(tmp_path, "cola.tsv", "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tThe more\n")
    assert read(path, [3, 1]) == [(1, ["The sailors rode.", "1"]), (2, ["The more", "0"])]


def test_an_unbalanced_quotation_mark_is_a_character_of_a_tab_separated_text(tmp_path):
    path = written(tmp_path, "a.tsv", 'text\tlabel\n"open\t1\nclosed"\t0\n')
    assert read(path, ["text", "label"]) == [(2, ['"open', "1"]), (3, ['closed"', "0"])]


def test_a_row_over_several_lines_counts_from_its_first(tmp_path):
    path = written(tmp_path, "a.csv", b'\xef\xbb\xbftext,label\n"one\ntwo",1\nthree,0\n')
    assert read(path, ["text", "label"]) == [(2, ["one\ntwo", "1"]), (4, ["three", "0"])]


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("a.txt", "", ["a"], r"expected a file whose name ends in \.csv, \.tsv, \.jsonl, \.parquet or \.arrow"),
        ("a.csv", "", ["a"], "has no rows"),
        ("a.csv", "a,b\n", ["a"], "has no rows"),
        ("a.csv", "a,b\n1,2\n", ["a", 1], "expected columns all by name, or all by position in a file without header"),
        ("a.csv", "text,lable\n1,2\n", ["text", "label"], "no column 'label'; .* text, lable; did you mean 'lable'?"),
        ("a.tsv", "a\tb\n1\t2\n1\n", ["a", "b"], ":3: expected 2 columns as before, got 1"),
        ("a.tsv", "1\t2\n1\t2\t3\n", [0], ":2: expected 2 columns as before, got 3"),
        ("a.tsv", "1\t2\n", [0, 2], ":1: no column 2; there are 2, counted from 0"),
        ("a.csv", 'a,b\n1,2\n"1,2\n', ["a"], ":3: not a row of a .csv file: unexpected end of data"),
        ("a.csv", b"a,b\n1,\xff\n", ["a"], "is not UTF-8 text"),
        ("a.jsonl", '{"a": 1}\n{a}\n', ["a"], ":2: not JSON: "),
        ("a.jsonl", "[1]\n", ["a"], r":1: expected a JSON object, got \[1\]"),
        ("a.jsonl", '{"a": 1}\n\n{"b": 1}\n', ["a"], ":3: no key 'a'; expected b"),
        ("a.jsonl", '{"a": 1}\n', [0], "expected columns by name, since each line is a JSON object, got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path, name, content, columns, message):
    with pytest.raises(UserError, match=rf"{name}:? ?{message}") as error:
        read(written(tmp_path, name, content), columns)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing.csv: there is nothing at nothing.csv in"):
        read(tmp_path / "nothing.csv", ["a"])
