"""Scalars and pictures of a game's own: logged, drawn, kept the best by, and refused where they are something else."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import rows

from gantrain.commands.train import make_trainer
from gantrain.config.schema import Config
from gantrain.errors import UserError
from gantrain.games import Matrix
from gantrain.plotting import figures
from gantrain.plotting.images import load_png
from gantrain.train.callbacks import GamePictures, GameScalars

PLAYER = {"optimizer": {"name": "mirror", "lr": 0.5}}
GAME = {"name": "matrix", "payoff": [[0, -1, 1], [1, 0, -1], [-1, 1, 0]], "row": PLAYER, "column": PLAYER}


def trainer_of(folder, **sections):
    run = {"name": "run", "steps": 40, "folder": str(folder), "device": "cpu"}
    config = {"run": run, "game": GAME, "outer": "extragradient", **sections}
    return make_trainer(Config.model_validate(config), torch.device("cpu"))


def test_they_are_logged_at_the_point_of_the_step_and_at_the_average_which_decides_about_the_best(tmp_path):
    trainer = trainer_of(tmp_path, scalars={"every": 10}, pictures={"every": 20}, ema={"decay": 0.5})
    run = trainer.fit()
    found = {row["step"]: row for row in rows(run) if "game/duality_gap" in row}
    averages = {row["step"]: row["game/duality_gap[ema]"] for row in rows(run) if "game/duality_gap[ema]" in row}
    assert list(found) == list(averages) == [10, 20, 30, 40]
    with torch.no_grad():
        assert found[40]["game/duality_gap"] == float(
            trainer.game.scalars(trainer.game.evaluated_network)["duality_gap"]
        )
        assert averages[40] == float(trainer.game.scalars(trainer.averages["ema"].module)["duality_gap"])
    best = min(averages, key=lambda step: averages[step])
    (kept,) = (run / "best").glob("step_*")
    assert kept.name == f"step_{best}" and trainer.best == {"name": "game/duality_gap[ema]", "cost": averages[best]}
    assert [p.name for p in sorted((run / "pictures").iterdir())] == [f"strategies_step_0000{n}.png" for n in (20, 40)]
    assert load_png(run / "pictures" / "strategies_step_000040.png").shape[0] == 3


def test_null_switches_them_off(tmp_path):
    run = trainer_of(tmp_path, scalars=None, pictures=None).fit()
    assert not (run / "pictures").exists() and not any(name.startswith("game/") for row in rows(run) for name in row)
    assert json.loads((run / "data.json").read_text())["samples"] == 64


class Measured(Matrix):
    found: dict = {}

    def scalars(self, network):
        return self.found

    pictures = scalars


def game(found):
    from gantrain.models import StrategySpec, Vector

    spec = StrategySpec((2,), simplex=True)
    made = Measured(Vector(spec), Vector(spec), [[1, 2], [3, 4]])
    made.found = found
    return made


def test_numbers_of_every_kind_are_scalars_and_higher_may_be_better(tmp_path):
    import numpy as np

    from gantrain.runs.monitor import Monitor

    found = game({"a/b": 1, "c": torch.tensor([2.0]), "d": np.float32(3), "e": True, "duality_gap": float("nan")})
    assert GameScalars(found, 1).measure(found.everyone) == pytest.approx(
        {"a/b": 1, "c": 2, "d": 3, "e": 1, "duality_gap": float("nan")}, nan_ok=True
    )
    found = game({"welfare": 2.0})
    found.better = {"welfare": "higher"}
    with Monitor(tmp_path, {}) as monitor:
        assert GameScalars(found, 1).run(tmp_path, monitor, 1, found.everyone).cost == -2


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": "b"}, r"game: Measured.scalars: a: expected a number or a tensor of one element, got 'b' \(str\)"),
        (
            {"a": torch.zeros(2)},
            r"a: expected a number or a tensor of one element, got a tensor of shape \(2,\)",
        ),
        (3.0, r"game: Measured.scalars: expected a dict by name, got 3.0 \(float\)"),
        ({"a b": 3.0}, "game: Measured.scalars: 'a b': expected a name of letters, digits"),
    ],
)
def test_other_scalars_are_one_line(found, message):
    made = game(found)
    with pytest.raises(UserError, match=message):
        GameScalars(made, 1).measure(made.everyone)


@pytest.mark.parametrize("picture", [torch.zeros(3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8), "a.png"])
def test_other_pictures_are_one_line(tmp_path, picture):
    made = game({"a": picture})
    with pytest.raises(
        UserError, match="game: Measured.pictures: a: expected a figure of matplotlib or a uint8 tensor"
    ):
        GamePictures(made, 1).run(tmp_path, None, 1, made.everyone)
    assert not (tmp_path / "pictures").exists()


def test_random_numbers_of_a_measurement_depend_on_the_seed_alone():
    made = game({})
    made.scalars = lambda network: {"random": torch.rand(())}
    before = torch.get_rng_state()
    first, again, other = (GameScalars(made, 1, seed=seed).measure(made.everyone) for seed in (1, 1, 2))
    assert first == again != other and torch.equal(before, torch.get_rng_state())
    assert figures.bars({"a": [1, 2], "b": [3]}, "x").axes
