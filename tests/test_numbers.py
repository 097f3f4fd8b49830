"""Every measured number in the README and in docs stands in a results file that the same section names.

A section reaches from one heading to the next. It names a results file by its path, by a link, or by the script that
writes it: `scripts/bench/peers.py` stands for all of `scripts/bench/results/peers*`. The protocol of a study counts as
well, since it has the settings. A section of the third level that names none has those of the section that it is in.
Results are texts and tables of Markdown; nobody finds a mean in a CSV file.

What counts as measured, outside code: numbers with a fraction, percentages, numbers times a power of ten, milli- and
microseconds, the N of `N of M`, and all numbers in the tables of a section that names results, except in their first
column. A number stands in a results file if one of its numbers rounds to the digits shown; `a ± b` if both stand in one
line. Where the first cell of a row is that of rows in results that are a text, the row's numbers must stand in those.

What you can write into a config, formulas and bounds stand in code font, and versions and equations behind their name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import erf, exp, pi, sqrt
from pathlib import Path

import pytest
from pages import PAGES, ROOT

# Numbers that are computed from published or explained ones, beside their computation.
COMPUTED: dict[str, dict[str, float]] = {
    "docs/games.md": {"0.0627": 2 * 8 / 255},
    "docs/sampling.md": {
        # The variance of a normal variable between -T and T, at T = 0.7.
        "0.153": 1 - 2 * 0.7 * exp(-(0.7**2) / 2) / sqrt(2 * pi) / erf(0.7 / sqrt(2)),
    },
    "docs/methods.md": {"0.0128": 0.0002 * 32 * 32 / 16, "0.41": 0.0002 * 256 * 256 / 32},
}

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
PATTERNS = (
    rf"{NUMBER} ± {NUMBER}(?: %)?",
    rf"{NUMBER}·10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+",
    r"\d+ of (?:the |all )?\d+\b",
    rf"{NUMBER} %",
    r"\d+(?:,\d{3})*\.\d+(?!\.?\d)",
    rf"{NUMBER}(?= (?:ms|µs)\b)",
)
MEASURED = re.compile(rf"(?<![\w.,·])(?:{'|'.join(PATTERNS)})")
IN_A_TABLE = re.compile(rf"(?<![\w.,·])(?:{'|'.join(PATTERNS)}|{NUMBER})")
# Software, licences and equations with their numbers, and the address of a paper.
NAMED = re.compile(
    r"\b(?:Python|torch|torch-fidelity|License|version) \d+\.\d+(?:\.\d+)?(?: (?:to|and|or) \d+\.\d+)?"
    r"|\beqs?\. [\d.]+(?:–\d+)?|\b\d{4}\.\d{5}\b"
)
SOURCE = re.compile(r"scripts/(?:bench|studies)/(?:results|protocols)/[\w.-]+|checkpoints/[\w-]+/README\.md")
SCRIPT = re.compile(r"scripts/(bench|studies)/(\w+)\.(?:py|sh)")


@dataclass(frozen=True)
class Line:
    """The numbers of a line of results, as they are written, and the first cell of a line of a text."""

    label: str
    numbers: tuple[str, ...]


def numbers(text: str) -> tuple[str, ...]:
    """All numbers of a text of results: `12`, `1,000`, `0.5`, `1e-05`."""
    return tuple(found.replace(",", "") for found in re.findall(rf"(?<![\w.]){NUMBER}(?:e[-+]?\d+)?", text))


def stands_for(shown: str, found: str) -> bool:
    """Whether a number of results rounds to the digits shown."""
    percent = shown.endswith("%")
    shown = shown.removesuffix(" %").replace(",", "")
    mantissa, _, exponent = shown.translate(DIGITS).partition("·10")
    value = Decimal(mantissa).scaleb(int(exponent or 0))
    half = Decimal(5).scaleb(int(value.as_tuple().exponent) - 1)
    scales = (0, 2) if percent else (0,)
    for exact in (Decimal(found).scaleb(scale) for scale in scales):
        if exact == value or (
            int(exact.as_tuple().exponent) < int(value.as_tuple().exponent) and abs(exact - value) <= half
        ):
            return True
    return False


def stands_in(shown: list[str], line: Line) -> bool:
    return all(any(stands_for(number, found) for found in line.numbers) for number in shown)


def without_code(text: str) -> str:
    """The text with code, targets of links and named numbers taken out; lines stay where they are."""

    def empty(match: re.Match[str]) -> str:
        return "§" + "\n" * match[0].count("\n")

    for pattern in (r"(?ms)^```.*?^```$", r"`[^`]+`", r"(?<=\])\([^)]*\)"):
        text = re.sub(pattern, empty, text)
    return NAMED.sub(empty, text)


def sources(section: str, root: Path = ROOT) -> list[Path]:
    """The files with results that a section of a page names."""
    found = [root / name for name in SOURCE.findall(section)]
    for folder, script in SCRIPT.findall(section):
        found += sorted((root / "scripts" / folder / "results").glob(f"{script}*"))
    return [path for path in dict.fromkeys(found) if path.suffix in (".txt", ".md") and path.is_file()]


def results(files: list[Path]) -> Iterator[Line]:
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            label = re.split(r"  |\|", line.strip())[0].strip() if path.suffix == ".txt" else ""
            yield Line(label, numbers(line))


def measured(line: str, pattern: re.Pattern[str] = MEASURED) -> Iterator[list[str]]:
    """Numbers of a line of a page that must stand in results, with those that must stand in the same line."""
    for match in pattern.finditer(line):
        # Of `N of M` the whole may be a sum.
        yield match[0].partition(" of ")[0].split(" ± ")


def missing(page: str, text: str, root: Path = ROOT) -> list[str]:
    """The measured numbers of a page that stand in no results of their section, each as a line for a reader."""
    found, start, outer = [], 0, list[Path]()
    labelled, plain = text.splitlines(), without_code(text).splitlines()
    for section in re.split(r"(?m)^(?=###? )", text):
        length = len(section.splitlines())
        files = sources(section, root)
        if section.startswith("### "):
            files = files or outer
        else:
            outer = files
        lines = list(results(files))
        where = ", ".join(str(path.relative_to(root)) for path in files) or "any results, since the section names none"
        for number, line in enumerate(plain[start : start + length], start + 1):
            is_row = line.startswith("|") and not "".join(plain[number : number + 1]).startswith("|---")
            if is_row and files:
                cells = line.strip().strip("|").split("|")
                wanted = [group for cell in cells[1:] for group in measured(cell, IN_A_TABLE)]
                wanted += list(measured(cells[0]))
                label = labelled[number - 1].split("|")[1].strip(" `")
                rows = [row for row in lines if label and row.label == label] or lines
            else:
                wanted, rows = list(measured(line)), lines
            for group in wanted:
                computed = [COMPUTED.get(page, {}).get(shown) for shown in group]
                if None in computed and not any(stands_in(group, row) for row in rows):
                    found.append(f"{page}:{number}: {' ± '.join(group)} is not in {where}")
        start += length
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_measured_number_stands_in_a_results_file_that_its_section_names(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "\n".join(missing(page, text)) == ""
    for shown, value in COMPUTED.get(page, {}).items():
        assert shown in text and stands_for(shown, f"{value:.12f}"), f"{page}: {shown} is {value}"


RESULTS = """\
$ python scripts/bench/duel.py
                   distance          share
gda          6.394 ± 0.204           0.875
rapp         5.440 ± 0.020           1e-05
alone                0.301
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 6.39 ± 0.20, and 88 % arrive.", []),
        ("It is 6.4, 5.44 or 0.875, and 1·10⁻⁵.", []),
        ("It is 6.38.", ["6.38"]),
        ("It is 6.39 ± 0.02.", ["6.39 ± 0.02"]),
        ("It is 6.395.", ["6.395"]),
        ("86 % or 88.5 % arrive, 3 of 4 after 12 ms.", ["86 %", "88.5 %", "3", "12"]),
        ("| gda | 6.39 ± 0.20 | 0.88 |", []),
        ("| gda | 5.44 |", ["5.44"]),
        ("| `rapp` | 7 |", ["7"]),
        ("| another name, 0.301 | 5.44 |", []),
        ("With `relaxation: 0.9` and Python 3.11 to 3.13, by eq. 2.1 of arXiv 2310.13459, torch 2.9.", []),
        ("```\n0.9\n```\n[here](a_0.9.md), `0.9\n` 0.8", ["0.8"]),
        ("6.39\n\n### Below\n\n6.39\n\n## Next\n\n6.39, 12 names and 7 seeds", ["6.39"]),
    ],
)
def test_what_counts_as_measured_and_as_found(text, found, tmp_path):
    folder = tmp_path / "scripts" / "bench" / "results"
    folder.mkdir(parents=True)
    (folder / "duel.txt").write_text(RESULTS)
    (folder / "duel.csv").write_text("6.38\n")
    reports = missing("page", f"Made by `scripts/bench/duel.py`.\n{text}\n", tmp_path)
    assert [report.partition(": ")[2].partition(" is not in ")[0] for report in reports] == found
