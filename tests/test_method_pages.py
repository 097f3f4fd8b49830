"""The pages of docs/loops and docs/oracles: one for each part, whose keys, costs, YAML and pictures are right."""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import RING
from torch import nn
from torch.optim import SGD

from gantrain.config import merge
from gantrain.config.parts import Part, build, plain
from gantrain.config.registry import kind
from gantrain.config.schema import Config
from gantrain.config.signatures import read_signature
from gantrain.games.base import Player
from gantrain.outer.cost import cost_of_a_step
from gantrain.outer.learner import Learner

DOCS = Path(__file__).parents[1] / "docs"
LOOPS, ORACLES = kind("outer").parts, kind("sharpness").parts
# Pages of methods that have no name of their own: the oracle whose keys they explain.
NAMELESS = {"plain": None, "bisam": "sam"}
PAGES = [*(f"loops/{name}" for name in LOOPS), *(f"oracles/{name}" for name in [*ORACLES, *NAMELESS])]
SECTIONS = ["In a config", "Cost", "Where it converges", "When to use it", "With what it combines", "Source"]
KEYS = "| key | default | meaning |"
TABLES = {
    "loops": "| loop | gradients a step | copies of the weights | guaranteed for | optimizers | take it when |",
    "oracles": "| oracle | what the optimizer is given | gradients a move | copies of the weights | take it when |",
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def rows(text: str, header: str) -> Iterator[list[str]]:
    """The cells of a table with this header. A vertical bar in a formula would divide cells, so that none has one."""
    _, _, below = text.partition(f"{header}\n")
    for line in below.splitlines()[1:]:
        if not line.startswith("|"):
            break
        yield [cell.strip() for cell in line.strip("|").split("|")]


def part_in(tree: dict, page: str) -> Part | None:
    """The loop or the oracle of a GAN's config that is changed as a page says."""
    config = Config.model_validate(merge.merge(copy.deepcopy(RING), tree))
    if page.startswith("loops/"):
        return config.outer
    return config.game.generator.sharpness or config.game.discriminator.sharpness


def test_every_loop_and_every_oracle_has_a_page():
    found = [path for folder in ("loops", "oracles") for path in (DOCS / folder).iterdir()]
    assert {str(path.relative_to(DOCS).with_suffix("")) for path in found} == {*PAGES, "loops/index", "oracles/index"}


@pytest.mark.parametrize("page", PAGES)
def test_the_keys_of_a_page_have_the_defaults_of_the_constructor(page):
    name = page.partition("/")[2]
    named = NAMELESS.get(name, name)
    cells = [[cell.strip("`") for cell in cells] for cells in rows(text_of(page), KEYS)]
    table = {key: yaml.safe_load(default) for key, default, _ in cells}
    if named is None:
        assert not table
        return
    defaults = {p.name: p.default for p in read_signature({**LOOPS, **ORACLES}[named]).parameters}
    if name in NAMELESS:
        defaults = {key: defaults[key] for key in table}
    assert {key: (type(value), value) for key, value in table.items()} == {
        key: (type(value), value) for key, value in defaults.items()
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_yaml_of_a_page_loads_and_takes_the_part(page):
    named = NAMELESS.get(page.partition("/")[2], page.partition("/")[2])
    blocks = [yaml.safe_load(content) for language, content in BLOCK.findall(text_of(page)) if language == "yaml"]
    assert blocks
    for tree in blocks:
        part = part_in(tree, page)
        assert (part and part.name) == named
        build("outer" if page.startswith("loops/") else "sharpness", plain(part) if part else None)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_an_equation_its_sections_and_its_picture(page):
    text, folder = text_of(page), page.partition("/")[0]
    equation, *_ = [content for language, content in BLOCK.findall(text) if language == ""]
    assert "=" in equation or "←" in equation or "g_p" in equation
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if page == "oracles/plain":
        assert set(found) <= set(SECTIONS)
    else:
        assert [section for section in found if section in SECTIONS] == SECTIONS
    pictures = re.findall(r"!\[[^\]]+\]\(\.\./(images/[^)]+)\)", text)
    assert f"images/{page}.png" in pictures
    for picture in pictures:
        assert picture.startswith(f"images/{folder}/") and (DOCS / picture).stat().st_size < 60_000


def test_every_picture_is_shown_and_differs_from_the_others():
    shown = {name for page in PAGES for name in re.findall(r"\(\.\./images/([^)]+)\.png\)", text_of(page))}
    found = [path for folder in ("loops", "oracles") for path in (DOCS / "images" / folder).iterdir()]
    assert {str(path.relative_to(DOCS / "images").with_suffix("")) for path in found} == shown
    assert len({path.read_bytes() for path in found}) == len(found)


def test_the_tables_to_choose_by_have_every_page_and_its_cost():
    player, found = Player("x", nn.Linear(1, 1)), []
    for folder, header in TABLES.items():
        for cells in rows(text_of(f"{folder}/index"), header):
            (name,) = re.findall(r"\((\w+)\.md\)", cells[0])
            found.append(f"{folder}/{name}")
            loop, oracle = (name, None) if folder == "loops" else ("gda", NAMELESS.get(name, name))
            learner = Learner(player, SGD(player.parameters, lr=0.1), build("sharpness", oracle))
            cost = cost_of_a_step(build("outer", loop), [learner])
            place = header.split(" | ").index("gradients a step" if folder == "loops" else "gradients a move")
            assert cells[place].partition(",")[0] == ("1 or 2" if cost is None else f"{cost.gradients.mean:g}"), name
    assert sorted(found) == sorted(PAGES)


def test_the_maps_agree_with_closed_forms_and_hold_what_is_guaranteed(monkeypatch):
    """With ``mu = gamma (rho + i sqrt(1 - rho^2))`` a step of the quadratic game multiplies by a polynomial of mu."""
    monkeypatch.syspath_prepend(DOCS.parent / "scripts" / "figures")
    loops = importlib.import_module("loops")
    rho, gamma = np.meshgrid(loops.RHO[::5], loops.GAMMA[::5])
    mu = gamma * (rho + 1j * np.sqrt(1 - rho**2))
    factors = {"gda": 1 - mu, "extragradient": 1 - mu + mu**2, "extragradient_plus": 1 - (mu - mu**2) / 2}
    for name, factor in factors.items():
        np.testing.assert_allclose(loops.rates(name, rho, gamma), abs(factor), atol=1e-12)
    for name in (*factors, "lookahead", "lookahead_extragradient", "ceg_plus"):
        proven = loops.guaranteed(name, rho, gamma)
        assert proven.any() and (loops.rates(name, rho, gamma)[proven] < 1).all()
    iterates, points = loops.path({"name": "extragradient"}, "simultaneous")
    assert len(points) == loops.GRADIENTS and len(iterates) == 1 + loops.GRADIENTS // 2
    factor = abs(1 - 1j * loops.STEP - loops.STEP**2)
    np.testing.assert_allclose(np.hypot(*iterates.T), factor ** np.arange(len(iterates)), rtol=1e-12)
