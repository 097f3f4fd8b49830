"""Study A trains, goes on and reports what its CSV file says."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "studies"))
import interpolation
from interpolation import METHODS, PROBLEMS, Interpolation
from study import Study, Trial

PROBLEM = PROBLEMS["digits_mlp"]
# The learning rates that are best; GDA's lies two steps beyond the grid.
BEST = dict.fromkeys(METHODS, 0.002) | {"gda_alternating": 0.000125, "rapp_simultaneous": 0.008}


def distance(method: str, rate: float, seed: int) -> float | None:
    """4 at the best rate and one more for each factor of two away from it; optimistic diverges at large rates."""
    if method == "optimistic" and rate > 0.01:
        return None
    return 4 + abs(math.log2(rate / BEST[method])) + 0.01 * (seed % 3) - (1 if method == "extragradient" else 0)


def measure(self: Study, trials, workers: int = 1) -> None:
    """In place of training."""
    known = {self._key(row) for row in self.rows}
    for trial in trials:
        assert trial.key not in known, "no run is measured twice"
        value = distance(trial.setting["method"], float(trial.setting["lr"]), trial.seed)
        shared = {**trial.setting, "seed": str(trial.seed), "seconds": "3600"}
        for weights in interpolation.WEIGHTS if value is None else ():
            shared[PROBLEM.column(weights)] = ""
        if value is None:
            self.rows.append({**shared, "outcome": "diverged"})
            continue
        for step, more in (("14994", 1.0), ("15000", 0.0)):
            values = {PROBLEM.column(w): str(value + more) for w in interpolation.WEIGHTS}
            self.rows.append({**shared, "outcome": "finished", "step": step, **values})
    self._write()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = Interpolation("digits_mlp", folder, folder, 0, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "measure", measure)
        study.run()
    return study


def test_grids_go_on_until_the_best_is_inside_and_fresh_seeds_are_reported(study):
    for method, best in BEST.items():
        assert study.chosen(method, "live") == best
        rates = study.rates(method)
        assert rates[0] < best < rates[-1]
        assert list(study.values(method, best, "live", study.reported)) == [100, 101, 102, 103, 104]
    assert study.rates("gda_alternating")[0] == 0.0000625 and study.rates("rapp_simultaneous")[0] == 0.0005


def test_the_tables_say_what_was_measured(study):
    rows = [line.split() for line in study.report().splitlines()]
    rows = [row for row in rows if row and row[0] in METHODS]
    reported = {row[0]: row for row in rows[: len(METHODS)]}
    # At their best rates all have the same distance but extragradient, which is one below in every pair.
    assert reported["gda_alternating"][1:5] == ["0.000125", "4.01", "±", "0.00"]
    assert reported["extragradient"][-5:] == ["-1.00", "-1.00", "to", "-1.00", "0"]
    assert reported["lookahead_alternating"][-5:] == ["+0.00", "+0.00", "to", "+0.00", "1"]
    grid = {row[0]: row for row in rows[len(METHODS) : 2 * len(METHODS)]}
    # Of the seven rates, five are at most two steps from 0.002, where the distance is below 7.
    assert grid["lookahead_alternating"][-7:] == ["15", "of", "21", "0.0005", "to", "0.008,", "16x"]
    # By the trapezoid rule (6.01 / 2 + 5.01 + 4.01 + 5.01 + 6.01 + 7.01 + 8.01 / 2) / 6; a diverged run counts as 20.
    assert grid["lookahead_alternating"][-8] == "5.68" and grid["optimistic"][-8] == "8.84"
    assert grid["optimistic"].count("(3)") == 2


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped(tmp_path):
    """Runs are trained in earnest: each once, also by another study that has only the file."""
    config = str(Path(interpolation.__file__).parent / "configs" / "digits_mlp.yaml")
    overrides = ("run.gradients=4", "evaluate.every=2", "evaluate.samples=100", "evaluate.weights=[live, ema]")
    trials = [
        Trial({"method": "gda", "lr": lr}, 7, (*overrides, f"game.generator.optimizer.lr={lr}"), str(config))
        for lr in ("0.001", "1e+30")
    ]
    study = Study("tiny", ("method", "lr"), tmp_path / "results", tmp_path / "runs")
    study.measure(trials)
    again = Study("tiny", ("method", "lr"), tmp_path / "results", tmp_path / "elsewhere")
    assert again.rows == [{key: row.get(key, "") for key in again.rows[0]} for row in study.rows]
    again.measure(trials)
    assert not (tmp_path / "elsewhere").exists()
    column = PROBLEM.column("live")
    (value,) = again.last({"method": "gda", "lr": "0.001"}, column, [7]).values()
    (before,) = again.last({"method": "gda", "lr": "0.001"}, column, [7], before=1).values()
    assert value > 0 and before > 0 and value != before
    assert again.last({"method": "gda", "lr": "1e+30"}, column, [7]) == {7: None}
    assert [row["gradients"] for row in again.rows if row["outcome"] == "finished"] == ["2", "4"]
