"""Study B chooses, reports and draws what its CSV file says."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from gantrain.config.loading import load

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "studies"))
from sharpness_methods import METHODS, PROBLEMS, WEIGHT_DECAY, Point
from sharpness_runs import Sharpness
from sharpness_tables import Tables
from study import Study, Trial

# Where the accuracy of a method is highest, if it is not in the middle of its grid and at the config's weight decay.
VALUES = {"sam": 0.0125, "sampa_0": 1.6, "sampa_0.2": 0.4}
DECAYS = {"sgd": 0.05, "sampa_0.2": 0.005}
SAMS = ("sam", "asam", "sampa_0", "sampa_0.2", "bisam_tanh", "bisam_log")


def accuracy(setting: dict[str, str], seed: int) -> float:
    """In per cent. It falls by a point with each step along a ladder; SAM collapses from rho 0.8 on."""
    method = setting["method"]
    if method == "sam" and float(setting["value"]) >= 0.8:
        return 10.0
    axis, ladder = METHODS[method].axis, WEIGHT_DECAY.ladder
    away = abs(ladder.index(float(setting["weight_decay"])) - ladder.index(DECAYS.get(method, 0.0005)))
    if axis is not None:
        best = VALUES.get(method, axis.grid[1])
        away += abs(axis.ladder.index(float(setting["value"])) - axis.ladder.index(best))
    sam = 4 + 0.1 * (seed % 5) if method in SAMS else 0
    return 80 - away + sam - (3 if method == "bisam_tanh" else 0)


def measure(self: Study, trials: Iterable[Trial], workers: int = 1) -> None:
    """In place of training."""
    for trial in trials:
        value = f"{accuracy(dict(trial.setting), trial.seed) / 100:.6g}"
        row = {"outcome": "finished", "seconds": "3.6", "validation/accuracy": value, "validation/loss": "1"}
        self.rows.append({**trial.setting, "seed": str(trial.seed), **row})
    self._write()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Sharpness:
    folder = tmp_path_factory.mktemp("study")
    study = Sharpness("digits_mlp", folder, folder, seed=0, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "measure", measure)
        study.run(0.4)
    return study


def test_choices_are_the_best_points_also_beyond_the_grids(study: Sharpness) -> None:
    found = {m: study.search(m, 0.4) for m in METHODS}
    assert found["sgd"].fixed == Point(None, 0.0005)
    assert found["sgd"].joint == Point(None, 0.05)
    assert found["sam"].joint == Point(0.0125, 0.0005)
    assert found["sampa_0"].joint == found["sampa_0"].fixed == Point(1.6, 0.0005)
    assert found["sampa_0.2"].fixed == Point(0.4, 0.0005)
    assert found["sampa_0.2"].joint == Point(0.4, 0.005)
    # The neighbours of each best were tried, and nothing is measured twice.
    tried = {(row["value"], row["weight_decay"]) for row in study.study.rows if row["method"] == "sampa_0.2"}
    assert {("0.2", "0.005"), ("0.8", "0.005"), ("0.4", "0.0016"), ("0.4", "0.016")} <= tried
    keys = [tuple(row[key] for key in (*study.study.settings, "seed")) for row in study.study.rows]
    assert len(keys) == len(set(keys))


def test_choices_are_made_on_validation_images_and_reported_on_test_images(study: Sharpness) -> None:
    seeds = {(row["split"], int(row["seed"])) for row in study.study.rows}
    assert seeds == {("validation", 0), ("validation", 1), *(("test", seed) for seed in range(100, 105))}


def test_tables_have_the_numbers_of_the_file(study: Sharpness, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study.study.path.parent
    read = Sharpness("digits_mlp", folder, folder, seed=0, workers=1)
    read.study.publish("python scripts/studies/sharpness.py digits_mlp", Tables(read).report(), Tables(read).picture())
    text = (folder / "sharpness_digits_mlp.txt").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.startswith("$ python scripts/studies/sharpness.py digits_mlp\n")
    assert f"{len(study.study.rows)} runs, which took {len(study.study.rows) / 1000:.1f} hours" in text
    fixed, tuned = text.split("weight decay tuned:")[:2]
    # At the fixed weight decay SGD is four steps from its best.
    assert "76.00 ± 0.00" in line(fixed, "sgd ")
    assert "80.00 ± 0.00" in line(tuned, "sgd ")
    # Differences of 4, 4.1, 4.2, 4.3 and 4.4 points. The best rho of SAM is the end of the ladder.
    assert "+4.20 (+4.00 to +4.40)" in line(tuned, "sam ")
    assert "0.0125*" in line(tuned, "sam ")
    # Two runs at each of the values at which SAM collapses.
    assert "0.8: 10.0 (2)" in text
    answers = [row.split("  ")[-1] for row in text.split("Hypotheses")[1].splitlines()[2:]]
    assert answers == ["better", "not worse", "worse"]
    assert (folder / "sharpness_digits_mlp.png").stat().st_size > 10_000


@pytest.mark.parametrize("problem", list(PROBLEMS))
def test_every_run_has_a_valid_config(problem: str, tmp_path: Path) -> None:
    study = Sharpness(problem, tmp_path, tmp_path, seed=0, workers=1)
    for (method, of), split in itertools.product(METHODS.items(), ("validation", "test")):
        point = Point(of.axis.grid[0] if of.axis else None, 0.005)
        trial = study.trial(method, 0.4, point, split, seed=3)
        config = load(trial.config, trial.overrides)
        steps = {"sgd_twice": 2, "sgd_epochs": 0.125}.get(method, 1) * PROBLEMS[problem].steps
        assert config.run.steps == round(steps)


def line(text: str, start: str) -> str:
    return next(row for row in text.splitlines() if row.startswith(start))
