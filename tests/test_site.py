"""The site of the documentation: it is built without a warning, and shows every key, option and public name."""

from __future__ import annotations

import html
import importlib
import logging
import re
import subprocess
import sys
from collections import Counter
from types import FunctionType
from urllib.parse import unquote, urldefrag

import click
import pytest
from browser import browser, console_errors, needs_browser, requests, scrolls_sideways
from markdown_it import MarkdownIt
from pages import PAGES, ROOT, with_files

from gantrain.cli import cli
from gantrain.config.loading import json_schema

for package in ("material", "mkdocstrings_handlers.python"):
    pytest.importorskip(package, reason="the generator of the site is not installed; install gantrain[docs]")

from nav import expanded, pages  # noqa: E402
from outside import links, on_files, place, resolved, shown  # noqa: E402
from schema_words import default, prose, words  # noqa: E402
from torch_keys import meanings  # noqa: E402


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the site, and the warnings of its build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder, said = tmp_path_factory.mktemp("site"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=False)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
        config.plugins.on_shutdown()
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
    return folder, said


@pytest.fixture(scope="module")
def site(built):
    """The pages of the site, by their paths in it."""
    return {path.relative_to(built[0]).as_posix(): path.read_text("utf-8") for path in sorted(built[0].rglob("*.html"))}


@pytest.fixture(scope="module")
def anchors(site):
    return {name: Counter(map(html.unescape, re.findall(r'\bid="([^"]+)"', page))) for name, page in site.items()}


def test_it_is_built_without_a_warning(built):
    assert built[1] == []


def test_the_script_fails_where_a_link_leads_nowhere(tmp_path):
    (options,) = re.findall(r"mkdocs (build .*)", (ROOT / "scripts/docs.sh").read_text("utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("[there](nowhere.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: one\n")
    command = [sys.executable, "-m", "mkdocs", *options.split()]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "nowhere.md" in ended.stderr


def test_every_link_leads_to_a_place_in_the_site_and_nothing_is_loaded_from_elsewhere(built, site, anchors):
    there = {path.relative_to(built[0]).as_posix() for path in built[0].rglob("*")}
    wrong = []
    for name, page in site.items():
        for tag, link in re.findall(r'<(\w+)\b[^>]*?\b(?:href|src)="([^"]+)"', page):
            target, anchor = map(unquote, urldefrag(html.unescape(link)))
            if name == "404.html" or (tag == "a" and re.match(r"\w+:", target)):
                continue
            goal = resolved(name, target) if target else name
            if goal not in there or (anchor and goal in anchors and anchor not in anchors[goal]):
                wrong.append(f"{name}: {link}")
    assert wrong == []


def test_every_key_of_every_schema_has_its_row(anchors):
    shown = Counter(anchor for name in anchors if name.startswith("reference/keys") for anchor in anchors[name])
    for command in ("train", "solve", "map"):
        schema = json_schema(command)
        assert {f"{command}.{key}" for key in schema["properties"]} <= shown.keys()
        for name, section in schema["$defs"].items():
            # All kinds of players share a table.
            place = "GeneratorPlayer" if name.endswith("Player") else name.replace(".", "-")
            assert "." not in name or shown[place] == 1
            for key, value in section.get("properties", {}).items():
                assert value is False or "const" in value or shown[f"{place}.{key}"] == 1, f"{name}: {key}"


def test_every_command_is_on_its_page_with_every_option(site, anchors):
    page = "reference/commands.html"
    text = html.unescape(re.sub(r"<[^>]+>", "", site[page]))
    for name, command in cli.commands.items():
        assert f"gantrain-{name}" in anchors[page]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help and " ".join(option.help.split()) in text and option.opts[0] in text
    assert "\ngantrain train --processes 2 configs/quickstart.yaml\n" in text  # examples keep their lines


PACKAGES = ("data", "games", "games.toy", "games.penalties", "gradients", "metrics", "models", "optim", "outer")
PACKAGES += ("sharpness", "testing", "train.callbacks", "exporting")


def test_every_public_name_has_its_place(site, anchors):
    import gantrain as gt

    found = {anchor for name in anchors if name.startswith("reference/python") for anchor in anchors[name]}
    top = html.unescape(site["reference/python/index.html"])
    assert [n for n in gt.__all__ if f"gantrain.{n}" not in found and f"gt.{n}<" not in top] == ["__version__"]
    for package in PACKAGES:
        module = importlib.import_module(f"gantrain.{package}")
        documented = [name for name in module.__all__ if isinstance(getattr(module, name), type | FunctionType)]
        assert [name for name in documented if f"{module.__name__}.{name}" not in found] == []


WRITTEN = [page for page in PAGES if page.startswith("docs/") and not page.startswith("docs/reference/")]


@pytest.mark.parametrize("page", WRITTEN)
def test_a_page_has_the_same_lists_tables_and_code_on_a_forge_and_in_the_site(page, site):
    on_a_forge = MarkdownIt("gfm-like", {"linkify": False}).render(with_files(page))
    in_the_site = (
        site[page.removeprefix("docs/").replace(".md", ".html")].partition("<article")[2].partition("</article>")[0]
    )
    in_the_site = re.sub(r'<a class="headerlink".*?</a>', "", in_the_site)

    def parts(text):
        code = [
            re.sub(r"<[^>]+>", "", found).split() for found in re.findall(r"<code[^>]*>(.*?)</code>", text, re.DOTALL)
        ]
        return Counter(re.findall(r"<(h\d|li|t[rdh]|pre|img|em|strong|code)\b", text)), [
            html.unescape(" ".join(c)) for c in code
        ]

    assert parts(in_the_site) == parts(on_a_forge)


@needs_browser
def test_a_browser_shows_it_without_a_server_and_on_a_narrow_screen(built):
    from selenium.webdriver.support.ui import WebDriverWait

    with browser(390, 844) as chrome:
        for name in ("papers", "reference/keys/optimizer", "reference/python/games"):
            chrome.get((built[0] / f"{name}.html").as_uri())
            assert not scrolls_sideways(chrome), name
        chrome.get((built[0] / "index.html").as_uri() + "?q=relaxation")
        found = "return document.querySelectorAll('.md-search-result__item').length"
        WebDriverWait(chrome, 60).until(lambda driver: driver.execute_script(found) > 3)
        assert console_errors(chrome) == []
        assert {address.partition(":")[0] for address in requests(chrome)} == {"file", "data"}


def test_folders_stand_for_their_pages_in_the_navigation(tmp_path):
    for name in ("loops/rapp.md", "loops/index.md", "loops/gda.md", "how/own.md", "a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    nav = expanded(["a.md", {"Methods": ["how/", {"Loops": "loops/"}]}, {"None": "none/"}], tmp_path)
    assert nav == [
        "a.md",
        {"Methods": [["how/own.md"], {"Loops": ["loops/index.md", "loops/gda.md", "loops/rapp.md"]}]},
    ]
    assert list(pages(nav)) == ["a.md", "how/own.md", "loops/index.md", "loops/gda.md", "loops/rapp.md"]


def test_links_to_files_are_found_outside_code_and_lead_into_the_site():
    text = (
        "[a](../a.py#L1) `[no](no.md)` ![b](b.png)\n```\n[no](no.md)\n```\n<!-- [no](no.md) -->\n"
        '<img src="c.png"> [d](https://e.f) [g](#h)\n[i]: ../j.md\n'
    )
    assert [(link.target, text[link.start : link.end]) for link in links(text)] == [
        (target, target) for target in ("../a.py", "b.png", "c.png", "../j.md")
    ]
    assert resolved("docs/loops/rapp.md", "../../examples/loss.py") == "examples/loss.py"
    assert place("examples/loss.py") == "repository/examples/loss.py.md"
    assert place("README.md") == "repository/README.md" and place("a/b.png") == "repository/a/b.png"
    assert "````text\n```\n````" in shown("a.txt", "```")


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("../gone.py", "docs/index.md links to ../gone.py, which is not there"),
        ("../examples", "docs/index.md links to ../examples, which is a folder; link a file in it"),
        ("../../outside.py", "docs/index.md links to ../../outside.py, which lies outside the repository"),
    ],
)
def test_a_link_to_a_file_that_the_site_cannot_have_ends_the_build(link, problem, tmp_path):
    from mkdocs.config import load_config
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import get_files

    for folder in ("docs", "examples"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"[a file]({link})\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: site\n")
    config = load_config(str(tmp_path / "mkdocs.yml"))
    with pytest.raises(PluginError, match=re.escape(problem)):
        on_files(get_files(config), config)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1}, "whole number ≥ 1"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]}, "number > 0 or <code>null</code>"),
        ({"enum": ["a", "b", "c"]}, "<code>a</code>, <code>b</code> or <code>c</code>"),
        ({"$ref": "#/$defs/outer"}, '<a href="to outer">an outer loop</a>'),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "object", "properties": {"kimg": {"type": "number"}}}, "{<code>kimg</code>: number}"),
        ({"type": "object", "properties": {"name": False}}, "mapping"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "mapping from names to number"),
    ],
    ids=str,
)
def test_the_values_of_a_key_in_words(schema, expected):
    assert words(schema, lambda name: f"to {name}") == expected


def test_defaults_and_descriptions():
    assert default({"a": [None, True, 1e-08], "b": "x<y"}) == "<code>{a: [null, true, 1e-08], b: x&lt;y}</code>"
    assert prose("A ``z <- w`` of\n:class:`~a.B`, {kimg: N}.\n\nMore.") == (
        "<p>A <code>z &lt;- w</code> of <code>B</code>, <code>{kimg: N}</code>.</p><p>More.</p>"
    )
    assert meanings("torch.optim:Adam")["betas"].startswith("coefficients used for computing running averages")
