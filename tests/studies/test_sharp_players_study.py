"""Study C chooses, compares and prints what follows from a file of known distances."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "studies"))
from sharp_players import CELLS, DISTANCE, GRADIENTS, METHODS, PLAIN, RATES, SHAPE, Method, SharpPlayers, read, setting

SAM, ONE = Method("sam", "both"), Method("sampa", "discriminator")
SEEDS = range(100, 105)
# The distance divided by that of the plain gradient at the end.
STEPS = {(SAM, 0.025): 1.0, (SAM, 0.05): 0.9, (SAM, 0.1): 0.95, (ONE, 0.025): 1.0, (ONE, 0.05): 0.96, (ONE, 0.1): 0.8}
AT_HALF = 1.5


def rows():
    for cell in CELLS:
        loop, rate = cell
        choosing = ["gda", "lookahead", "rapp"].index(loop)
        for (method, radius), ratio in {(PLAIN, 0.0): 1.0, **STEPS}.items():
            for seed in (choosing, *SEEDS):
                # At the larger rate SAM gains twice as much. Seeds differ by factors that pairs cancel.
                ratio_here = ratio**2 if method == SAM and rate == RATES[1] else ratio
                plain = 5 * (1 + CELLS.index(cell)) * (1 + seed / 1000)
                for place in ("gradients", "steps") if method != PLAIN else ("steps",):
                    worse = 1.0 if place == "steps" else AT_HALF
                    shape = dict.fromkeys(SHAPE.values(), 2.0 if method == PLAIN else 1.0) if seed in SEEDS else {}
                    yield {
                        **setting(cell, method, radius),
                        **{"seed": seed, "outcome": "finished", "seconds": 2.0, "step": method.step(loop, place)},
                        **{DISTANCE: plain * ratio_here * worse / 5, **shape},
                    }


@pytest.fixture
def study(tmp_path):
    found = list(rows())
    with open(tmp_path / "sharp_players.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, dict.fromkeys(key for row in found for key in row))
        writer.writeheader()
        writer.writerows(found)
    return SharpPlayers(tmp_path, tmp_path, 0, 1)


def test_a_run_is_read_where_its_gradients_are_those_of_a_plain_run():
    assert [PLAIN.step("rapp", place) for place in ("steps", "gradients", "all gradients")] == [2000] * 3
    assert [SAM.step("gda", place) for place in ("steps", "gradients", "all gradients")] == [GRADIENTS, 3000, 3000]
    assert [ONE.step("rapp", place) for place in ("steps", "gradients", "all gradients")] == [2000, 1000, 1334]


def test_the_best_radius_is_chosen_and_a_grid_goes_on_beyond_its_largest(study):
    for rate in RATES:
        assert study.chosen(SAM, rate) == 0.05 and study.beyond(SAM, rate) is None
        assert study.chosen(ONE, rate) == 0.1 and study.beyond(ONE, rate) == 0.2
        assert study.chosen(METHODS[0], rate) is None


def test_methods_are_compared_with_the_plain_runs_of_their_seeds(study):
    results = study.results()
    assert math.exp(results.changes(RATES[0], DISTANCE, "steps")[SAM].mean) == pytest.approx(0.9)
    assert math.exp(results.changes(RATES[0], DISTANCE, "gradients")[ONE].mean) == pytest.approx(0.8 * AT_HALF)
    assert math.exp(results.larger_rate("steps")[SAM].mean) == pytest.approx(0.9)
    assert math.exp(results.larger_rate("steps")[ONE].mean) == pytest.approx(1.0)
    assert math.exp(results.changes(RATES[0], SHAPE["Hessian D"], "steps")[SAM].mean) == pytest.approx(0.5)
    # Nothing was measured where the gradients of both players together are equal, unless both are perturbed.
    assert not results.changes(RATES[0], DISTANCE, "all gradients").keys() - {SAM}


def test_a_diverged_run_counts_as_the_ceiling_where_it_has_no_distance(study):
    ended = setting(CELLS[0], SAM, 0.05)
    for row in study.study.rows:
        if all(row[key] == value for key, value in ended.items()) and row["seed"] == "100":
            row["outcome"] = "diverged"
            if row["step"] == str(GRADIENTS):
                row["step"] = row[DISTANCE] = ""
    at = {
        place: read(study.study, CELLS[0], SAM, 0.05, DISTANCE, place, SEEDS)[100] for place in ("steps", "gradients")
    }
    assert at == {"steps": 40.0, "gradients": pytest.approx(1.1 * 0.9 * AT_HALF)}


def test_the_tables_hold_what_was_computed(study):
    lines = study.report().splitlines()
    assert next(line for line in lines if line.startswith("sam, both")).split()[:6] == [
        *("sam,", "both", "0.05", "-10", "(-10", "to"),
    ]
    assert next(line for line in lines if line.startswith("bisam, both")).split() == ["bisam,", "both", *"----"]
    last = next(line for line in reversed(lines) if line.startswith("sampa, discriminator"))
    assert last.split()[2:] == ["+0", "/", "+50", "-4", "/", "+44", "-20", "/", "+20"]
    assert any(line.startswith("none, none") and "1.10 ± 0.00" in line for line in lines)
    assert len(study.results().picture().axes) == len(CELLS)
