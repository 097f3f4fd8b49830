"""The README and the pages of docs, read one after the other: no command stands in the way of another, examples run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pages import DOCS, INCLUDE, PAGES, ROOT, read

from gantrain.cli import cli
from gantrain.commands.sweep import grid
from gantrain.commands.train import train
from gantrain.config import shipped
from gantrain.config.loading import load, resolved
from gantrain.runs.folder import is_run, prepare_folder

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(gantrain [^`]*(?:configs|checkpoints)/[^`]+)`")
# What a user replaces by something else.
PLACEHOLDER = re.compile(r"\b(CONFIG|RUN|NAME|PATH|KEY|COMMAND|FOLDER|N)\b|…")
# Commands that write runs, and those that read them.
WRITERS = ("train", "sweep")
READERS = ("sample", "export", "eval", "diagnose", "compare", "report")
# Of these, those that take several runs, and folders of runs.
OF_SEVERAL = ("compare", "report")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a page in a language, without those of a file that the site includes."""
    return [
        content for found, content in BLOCK.findall(read(page)) if found == language and not INCLUDE.search(content)
    ]


def commands(page: str) -> Iterator[list[str]]:
    """The arguments of every command of a page that can be typed as it stands."""
    text = read(page)
    lines = [line for block in blocks(page, "") for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(found.split()) for found in INLINE.findall(BLOCK.sub("", text))]
    for line in lines:
        words = shlex.split(line, comments=True)
        words = words[: words.index(">")] if ">" in words else words
        if words[:2] == ["bash", "scripts/quickstart.sh"]:
            words = ["gantrain", "train", "configs/quickstart.yaml", "--resume"]
        if len(words) > 2 and words[0] == "gantrain" and not PLACEHOLDER.search(" ".join(words)):
            yield words[1:]


def test_every_page_is_in_the_navigation_and_the_main_pages_in_the_readme():
    there = {path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(PAGES) == sorted({"README.md"} | there)
    main = {page for page in there if page.count("/") == 1} - {"docs/index.md"}
    assert main <= set(re.findall(r"\]\((docs/\w+\.md)\)", read("README.md")))


def test_what_a_page_includes_is_an_example_which_the_tests_of_examples_run():
    included = {name for page in PAGES for name in INCLUDE.findall(read(page))}
    assert included <= {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*.*")}


@pytest.mark.filterwarnings("error::gantrain.errors.Notice")
def test_no_command_of_the_documentation_stands_in_the_way_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    followed = []

    def begin(folder: Path, config: dict, resume: bool = False) -> None:
        """Make the folder of a run as the command does that trains it."""
        prepare_folder(folder, config, resume, overwrite=False)

    for page in PAGES:
        for content in blocks(page, "yaml"):
            config = yaml.safe_load(content)
            if isinstance(config, dict) and "over" in config:
                (tmp_path / content.splitlines()[0].removeprefix("# ")).write_text(content)
            if isinstance(config, dict) and {"run", "data", "game"} <= config.keys():
                (tmp_path / "own.yaml").write_text(content)
                own = load("own.yaml")
                begin(Path(own.run.folder) / own.run.name, resolved(own))
        for name in re.findall(r'gt\.Run\(name="(\w+)"', "".join(blocks(page, "python"))):
            begin(Path("checkpoints") / name, {"run": {"name": name}})
        for name, *arguments in commands(page):
            command = cli.commands[name]
            given = command.make_context(name, list(arguments)).params
            followed.append(name)
            if given.get("dry_run"):
                load(given["config"], given["overrides"])
            elif name in WRITERS and not shipped.find(given["config"]).exists():
                # A file of the user's own, which is called like its run.
                own = load("configs/quickstart.yaml", [f"run.name={Path(given['config']).stem}"])
                begin(Path(own.run.folder) / own.run.name, resolved(own), given.get("resume", False))
            elif name == "train":
                config = load(given["config"], given["overrides"])
                begin(Path(config.run.folder) / config.run.name, resolved(config), given["resume"])
            elif name == "sweep":
                for run in grid(given["config"], given["overrides"], given["over"], given["seeds"]):
                    begin(run.folder, resolved(run.config), resume=True)
            elif name in READERS:
                runs = given["runs"] if name in OF_SEVERAL else [given["run"]] if given.get("run") else []
                for place in map(shipped.find_run, runs):
                    there = [place, *place.parents[:2], *(place.glob("*") if name in OF_SEVERAL else ())]
                    assert any(map(is_run, there)), f"{page}: {name} {place}: no command before makes this run"
    assert {"train", "sweep", *READERS} <= set(followed)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train(load(str(ROOT / "configs" / "quickstart.yaml"), ["run.steps=2", "evaluate=null", "run.device=cpu"]))
    names: dict[str, object] = {"__name__": "documentation"}
    for content in blocks(page, "python"):
        exec(compile(content.replace("steps=1000", "steps=2"), page, "exec"), names)
