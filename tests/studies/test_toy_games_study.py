"""The study of toy games: its one large game is what many small ones are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from gantrain.games.toy import Bilinear, Forsaken, GlobalForsaken
from gantrain.solver import solve

STUDIES = Path(__file__).parents[2] / "scripts" / "studies"
BOX = {"name": "box", "low": -1.5, "high": 1.5}
BALL = {"joint": {"name": "l2_ball", "radius": 4 / 3}}
LOOKAHEAD = {"name": "lookahead", "base": {"name": "gda", "order": "alternating"}}


@pytest.fixture
def toy_games(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    import toy_games

    monkeypatch.setattr(toy_games, "BUDGET", 90)
    return toy_games


@pytest.mark.parametrize(
    ("outer", "cost"),
    [({"name": "rapp", "order": "alternating"}, 3), ({"name": "ceg_plus"}, 2), (LOOKAHEAD, 5)],
    ids=["rapp", "ceg_plus", "lookahead"],
)
def test_each_start_and_step_size_arrives_when_it_does_by_itself(toy_games, outer, cost):
    begin = toy_games.starts(seed=1, draws=1)[:, :1]
    needed = toy_games.arrivals(outer, begin)
    found = set()
    for name, game, constraint in (
        ("bilinear", Bilinear, None),
        ("forsaken", Forsaken, BOX),
        ("global_forsaken", GlobalForsaken, BALL),
    ):
        row = list(toy_games.GAMES).index(name)
        start = torch.from_numpy(begin[row, 0])
        start = start * min(1.0, 4 / 3 / start.norm().item()) if name == "global_forsaken" else start
        for index in (2, 14, 20):
            alone = game(start=tuple(start.tolist()))
            optimizer = {"name": "sgd", "lr": float(toy_games.STEP_SIZES[index])}
            path = solve(alone, outer, optimizer, constraint=constraint, steps=90 // cost, keep=30 // cost)
            far = alone.distances(path).numpy()
            looks = [look for look in range(4) if (far[look:] <= toy_games.TOLERANCE).all()]
            expected = 30 * looks[0] if looks else np.inf
            assert needed[row, index, 0] == expected, (name, index)
            found.add(expected)
    assert len(found) > 1  # some arrive and others do not


def test_every_registered_loop_takes_part(toy_games):
    names = {label.split()[0] for label in toy_games.loops()}
    assert names == set(toy_games.kind("outer").parts)
    assert {"gda sim", "gda alt", "ceg_plus", "lookahead / rapp alt"} <= toy_games.loops().keys()


def test_a_start_that_leaves_again_has_not_arrived(toy_games):
    x = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, np.nan, 0.0], [0.0, 0.0, 0.0]])
    needed = toy_games.arrived(x, np.zeros_like(x), np.array([0, 30, 60, 90]))
    assert needed.tolist() == [30, 90, 60]


def test_the_shipped_table_has_the_numbers_of_the_shipped_rows(toy_games):
    """What the text shows as mean share is the mean of the rows of the CSV file."""
    with (STUDIES / "results" / "toy_games.csv").open(encoding="utf-8") as stream:
        shares = [
            float(row["share"]) for row in csv.DictReader(stream) if row["loop"] == "gda alt" and row["game"] == "dirac"
        ]
    text = (STUDIES / "results" / "toy_games.txt").read_text(encoding="utf-8").split("Share of the", 1)[1]
    line = next(line for line in text.splitlines() if line.startswith("gda alt"))
    assert f" {100 * np.mean(shares):.0f} " in line
