"""Metrics and callbacks of a user's own, which a config names by their targets."""

from __future__ import annotations

import json
import re

import pytest
import torch
from tiny import DIGITS, same, state, write

from gantrain.commands import compare
from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import train
from gantrain.config.loading import load, resolved
from gantrain.errors import UserError
from gantrain.runs.folder import require_startable
from gantrain.runs.monitor import read_metrics

MODULE = """
import torch
import gantrain as gt

FOUND = {
    "text": "much", "vector": torch.ones(2), "none": None, "missing": {"spread": 1.0}, "complex": 1j, "true": True,
}


class Contrast(gt.Metric):
    better = {"contrast": "higher"}
    needs = ("images",)
    compares = False

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def measure(self, fake, real):
        assert fake.images.dtype == torch.uint8 and fake.images.shape[1:] == (1, 8, 8)
        return self.scale * fake.images.float().std()


class Spread(gt.Metric):
    better = {"spread": "higher", "gap": "lower"}

    def __init__(self, wrong: str = ""):
        self.wrong = wrong

    def measure(self, fake, real):
        if self.wrong == "raises":
            raise LookupError("no such thing")
        gap = (fake.features.mean(0) - real.features.mean(0)).norm()
        return FOUND.get(self.wrong, {"spread": gt.metrics.Value(fake.features.std().item(), 0.5), "gap": gap})


class One(Spread):
    better = {"one": "lower"}


class Unsaid(gt.Metric):
    def measure(self, fake, real):
        return 1.0


class Sideways(Unsaid):
    better = {"it": "sideways"}


class Ours(Unsaid):
    better = {"fid": "lower"}


class Letters(Unsaid):
    better = {"it": "lower"}
    needs = "images"


class Needy(Unsaid):
    better = {"it": "lower"}
    least = 1000


class Look(gt.Callback):
    \"\"\"Looks.

    Args:
        every: the number of steps.
    \"\"\"

    weights = "live"

    def __init__(self, game, data, config, every: int = 2, wrong: str = ""):
        super().__init__(every)
        self.given, self.wrong = (game, data, config), wrong

    def run(self, folder, monitor, step, network):
        game, data, config = self.given
        assert network is game.evaluated_network and len(data.samples) == 1797
        network.eval()
        for buffer in game.discriminator.buffers():
            buffer.zero_()
        torch.manual_seed(5)
        value = abs(step - 4)
        monitor.scalars(step, {"distance": value}, better={"distance": "lower"})
        return 3 if self.wrong == "result" else gt.Result(f"distance {value} in {config.run.name}", "distance", value)


class Timeless(Look):
    def __init__(self, wrong: str = ""):
        pass


class Named(gt.Callback):
    def __init__(self, name: str):
        super().__init__(name)

    def run(self, folder, monitor, step, network):
        pass


class Average(gt.Callback):
    weights = "ema"

    def __init__(self, weights: str = "ema"):
        super().__init__(1)
        self.weights = weights

    def run(self, folder, monitor, step, network):
        pass
"""
EVALUATED = (
    "run.steps=4",
    "evaluate.samples=32",
    "evaluate.every=2",
    "evaluate.features=checkpoints/digits-classifier",
)
OWN = "evaluate.metrics=[{target: 'looking:Spread'}, {target: 'looking:Contrast', scale: 2}, isc]"


@pytest.fixture
def looking(tmp_path, monkeypatch):
    (tmp_path / "looking.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(folder, *overrides):
    return load(write(folder, DIGITS, *overrides))


def test_own_metrics_are_logged_compared_and_choose_the_best(looking, capsys):
    run = train(configured(looking, *EVALUATED, OWN, "evaluate.best=gap"))
    label = "[digits-classifier]"
    names = [f"inception_score{label}", f"spread{label}", f"gap{label}", "contrast"]
    rows = [row for row in read_metrics(run) if "contrast" in row]
    assert [row["step"] for row in rows] == [2, 4] and [name for name in rows[0] if name in names] == names
    best = min(rows, key=lambda row: row[names[2]])
    assert state(run / "best")["evaluation"] == {"name": names[2], "cost": best[names[2]]}
    ways = dict(zip(names, ["higher", "higher", "lower", "higher"], strict=True))
    assert json.loads((run / "better.json").read_text()) == ways

    (looking / "looking.py").unlink()  # a comparison imports nothing
    assert compare.compare([run]).metrics == ways


def test_a_run_is_evaluated_by_its_own_metrics(looking):
    run = train(configured(looking, *EVALUATED, OWN))
    report = evaluate_run(str(run), Request())
    assert [name.partition("[")[0] for name in report.values] == ["inception_score", "spread", "gap", "contrast"]
    spread = report.values["spread[digits-classifier]"]
    assert (spread.spread, spread.lower_is_better) == (0.5, False)
    assert list(evaluate_run(str(run), Request(metrics=("isc",))).values) == ["inception_score[digits-classifier]"]
    assert state(run / "best")["evaluation"]["name"] == "spread[digits-classifier]"  # the first of the first entry


def test_metrics_of_images_need_no_features(looking):
    found = configured(looking, *EVALUATED[:3], "evaluate.metrics=[{target: 'looking:Contrast'}]")
    assert found.evaluate.features is None  # InceptionV3, whose weights are not on this machine
    assert "contrast" in read_metrics(train(found))[-1]


SPREAD = "metrics.0: Spread.measure: expected the numbers {spread, gap} by name, got "
TRIAL = "; this was a trial on 16 images .the attribute least."
NO_METRICS = {
    "Spread, wrong: none": f"{SPREAD}None{TRIAL}",
    "Spread, wrong: vector": rf"{SPREAD}a tensor of shape \(2,\), float32, on cpu{TRIAL}",
    "Spread, wrong: missing": rf"{SPREAD}{{spread: 1.0 \(float\)}}{TRIAL}",
    "Spread, wrong: raises": rf"metrics.0: Spread raised LookupError: no such thing \(looking.py:\d+\){TRIAL}",
    "One, wrong: text": "metrics.0: One.measure: expected a number for one, got 'much' .str." + TRIAL,
    "One, wrong: complex": "metrics.0: One.measure: expected a number for one, got .*complex.*" + TRIAL,
    "One, wrong: 'true'": "metrics.0: One.measure: expected a number for one, got true .bool." + TRIAL,
    "Unsaid": 'metrics.0.target: Unsaid.better: expected the values that it reports, as in {"unsaid": "lower"}',
    "Sideways": "metrics.0.target: Sideways.better: expected the values that it reports, .*",
    "Ours": "metrics.0.target: Ours.better: expected names like those of variables, and none of gantrain's, got 'fid'",
    "Letters": r"metrics.0.target: Letters.needs: expected \(\"features\",\), .* or both, got 'images'",
    "Needy": "generator: Needy needs at least 1000 images, got 32",
    "Look": "metrics.0.target: looking:Look is no metric; expected a subclass of gantrain.Metric, .*",
}


@pytest.mark.parametrize("part", NO_METRICS)
def test_a_metric_that_breaks_its_contract_is_refused_before_the_run(looking, part):
    target, _, keys = part.partition(",")
    before = torch.get_rng_state()
    with pytest.raises(UserError) as error:
        train(configured(looking, *EVALUATED, f"evaluate.metrics=[{{target: 'looking:{target}',{keys}}}]"))
    assert re.fullmatch(rf"(config.yaml: )?evaluate[.:] ?{NO_METRICS[part]}", str(error.value))
    assert not (looking / "digits").exists() and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("[{target: 'looking:Spread'}, {target: 'looking:Spread', wrong: x}]", "reports spread, as entry 0 does"),
        ("[{target: 'looking:Spread'}], evaluate.best: fid", "fid is not measured; add fid to evaluate.metrics"),
        (
            "[{target: 'looking:Spread'}], evaluate.best: gpa",
            "expected one of fid, .*, gap, got 'gpa'; did you mean 'gap'",
        ),
        ("[fid, 'looking:Spread']", "one of your own is {target: 'looking:Spread'}"),
    ],
)
def test_lists_of_metrics_that_are_refused(looking, metrics, message):
    metrics, _, best = metrics.partition(", evaluate.best: ")
    more = [f"evaluate.best={best}"] if best else []
    with pytest.raises(UserError, match=message):
        configured(looking, *EVALUATED, f"evaluate.metrics={metrics}", *more)


def test_a_callback_looks_and_leaves_the_run_as_it_is(looking, capsys):
    plain = train(configured(looking, "run.steps=6", "run.name=plain"))
    run = train(configured(looking, "run.steps=6", "callbacks=[{target: 'looking:Look'}]"))
    assert same(state(run), state(plain))
    rows = [row for row in read_metrics(run) if "distance" in row]
    assert [(row["step"], row["distance"]) for row in rows] == [(2, 2), (4, 0), (6, 2)]
    assert state(run / "best")["clock"]["step"] == 4 and "distance 0 in digits" in capsys.readouterr().out
    assert compare.compare([run]).metrics == {"distance": "lower"}


def test_callbacks_may_change_on_resuming(looking):
    run = train(configured(looking, "run.steps=2"))
    more = configured(looking, "run.steps=4", "callbacks=[{target: 'looking:Look', every: 3}]")
    require_startable(run, resolved(more), resume=True, overwrite=False)
    train(more, resume=True)
    assert [row["step"] for row in read_metrics(run) if "distance" in row] == [3, 4]


NO_CALLBACKS = {
    "Timeless": r"callbacks.0: Timeless.every: expected a number of training steps, at least 1, got None; .*__init__.*",
    "Average, weights: best": "callbacks.0: Average.weights: expected one of live, anchor, got 'best'",
    "Average, weights: ema": "callbacks.0: Average.weights: ema was asked for, .*; add ema: .*",
    "Look, every: 0": "callbacks.0: Look.every: expected a number of training steps, at least 1, got 0 .int.; .*",
    "Spread": "callbacks.0.target: looking:Spread is no callback; expected a subclass of gantrain.Callback, .*",
    "Named": "callbacks.0.target: looking:Named has an argument called name, by which configs choose parts; .*",
    "Look, game: 3": "callbacks.0.game: unknown key; .*",
}


@pytest.mark.parametrize("part", NO_CALLBACKS)
def test_a_callback_that_breaks_its_contract_is_refused_before_the_run(looking, part):
    target, _, keys = part.partition(",")
    with pytest.raises(UserError) as error:
        train(configured(looking, "ema=null", f"callbacks=[{{target: 'looking:{target}',{keys}}}]"))
    assert re.fullmatch(rf"(config.yaml: )?{NO_CALLBACKS[part]}", str(error.value))
    assert not (looking / "digits").exists()


def test_what_a_callback_returns_is_checked(looking):
    with pytest.raises(
        UserError, match=r"^step 2: Look: Look.run: expected a gantrain.Result, a text or None, got 3 \(int\); "
    ):
        train(configured(looking, "callbacks=[{target: 'looking:Look', wrong: result}]"))
