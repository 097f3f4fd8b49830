"""Evaluation of a run under way and afterwards, with the features of the classifier that is shipped."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from cases import few
from click.testing import CliRunner
from forked import Command, gantrain
from image_sets import CLASSIFICATION, written
from pydantic import ValidationError
from tiny import DIGITS, config_of, rows, same, state, write

from gantrain.cli import cli
from gantrain.commands.evaluate import Request, as_json, evaluate_images, evaluate_run
from gantrain.commands.train import make_trainer, train
from gantrain.data.datasets.digits import Digits
from gantrain.errors import UserError
from gantrain.metrics import Generated, Images, Options, evaluate, make_extractor
from gantrain.metrics.report import Report, Value
from gantrain.runs import checkpoint
from gantrain.runs.monitor import read_metrics
from gantrain.runs.saved import load

CLASSIFIER = Path(__file__).parents[2] / "checkpoints" / "digits-classifier"
NAME = "frechet_distance[digits-classifier]"
LOOKAHEAD = "outer={name: lookahead, inner_steps: 4, relaxation: 0.5, base: {name: gda, order: alternating}}"
METRICS = "evaluate={every: 3, samples: 300, metrics: [fid, kid, prc], subset_size: 100}"


def evaluated(folder, *overrides):
    return config_of(DIGITS, folder, METRICS, f"evaluate.features={CLASSIFIER}", "run.steps=10", *overrides)


def test_the_classifier_that_is_shipped_is_good_and_small():
    report = evaluate_run(str(CLASSIFIER), Request())
    assert report["accuracy"] > 0.97 and report.about["samples"] == 359
    assert sum(f.stat().st_size for f in CLASSIFIER.rglob("*") if "best" not in f.parts) < 1_000_000


@pytest.mark.parametrize(
    ("evaluated", "given", "message"),
    [
        (evaluate_run, {"samples": 100}, "^--samples: is for generators, and {} predicts labels; leave it out$"),
        (evaluate_run, {"subset_size": 10}, "^--subset-size: is for generators, and {} predicts labels"),
        (evaluate_run, {"infinity": True}, "^--infinity: is for generators, and {} predicts labels"),
        (evaluate_images, {"weights": "ema"}, "^--weights: is for runs, and --images are no run; leave it out$"),
        (evaluate_images, {"step": 3}, "^--step: is for runs, and --images are no run; leave it out$"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(evaluated, given, message):
    with pytest.raises(UserError, match=message.format(re.escape(str(CLASSIFIER)))):
        evaluated(str(CLASSIFIER), Request(**given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digest": "01234567"}, "^digest: is that of a file of weights; name the file with weights$"),
        (
            {"digest": "01234567", "features": str(CLASSIFIER)},
            "^--digest: is for a published network, and a",
        ),
        ({"feature_weights": "w.pth", "features": str(CLASSIFIER)}, "^--feature-weights: is for a published network"),
    ],
)
def test_a_digest_that_belongs_to_no_weights_is_refused(tmp_path, options, message):
    images = written(tmp_path / "images", Digits().samples[:4])
    with pytest.raises(UserError, match=message):
        evaluate_images(str(images), Request(metrics=["isc"], **options))


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """A run that is not evaluated, with all its checkpoints."""
    kept = "checkpoint={every: 1, keep: 10}"
    return train(config_of(DIGITS, tmp_path_factory.mktemp("without"), "run.steps=10", LOOKAHEAD, kept))


@pytest.mark.parametrize("weights", few(["ema", "live", "anchor"], "ema"))
def test_a_run_stays_the_same_and_what_is_logged_is_the_metric_of_the_weights_that_were_asked_for(
    tmp_path, without, weights
):
    folder = train(evaluated(tmp_path, f"evaluate.weights={weights}", LOOKAHEAD))
    assert same(state(folder), state(without))
    others = [row for row in rows(folder) if NAME not in row]
    assert others == rows(without) and len(rows(folder)) == len(others) + 4
    logged = {row["step"]: row for row in read_metrics(folder) if NAME in row}
    assert sorted(logged) == [3, 6, 9, 10]
    extractor = make_extractor(str(CLASSIFIER))

    def expected(step):
        # The anchor is the iterate of the last complete cycle of four.
        network = {"anchor": "live"}.get(weights, weights)
        saved = load(without, weights=network, step=step // 4 * 4 if weights == "anchor" else step)
        seed = trainer_seed(tmp_path)
        fake = Generated.of(saved.game, seed, network=saved.network, labels=saved.data.labels)
        options = Options(subset_size=100)
        return evaluate(fake, Images(Digits()), extractor, ("fid", "kid"), samples=300, options=options).scalars

    for step in (6, 9):
        for name, value in expected(step).items():
            assert logged[step][name] == pytest.approx(value, rel=1e-6, abs=1e-12)


def trainer_seed(folder):
    from gantrain.distributed.rendezvous import process_group

    with process_group(True) as accelerator:
        (view,) = (v for v in make_trainer(evaluated(folder), accelerator.device).callbacks if hasattr(v, "metrics"))
        return view.seed


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path):
    folder = train(evaluated(tmp_path, "evaluate.best=recall", "checkpoint={every: 2, keep: 1}", "evaluate.every=2"))
    values = {row["step"]: row["recall[digits-classifier]"] for row in read_metrics(folder) if NAME in row}
    best = max(values, key=lambda step: (values[step], step))
    assert [p.name for p in folder.glob("step_*")] == ["step_10"]
    assert [p.name for p in (folder / "best").iterdir()] == [f"step_{best}"]
    found = state(folder / "best")
    assert found["evaluation"] == {"name": "recall[digits-classifier]", "cost": -values[best]}
    assert found["clock"]["step"] == best
    assert load(folder / "best").step == best == load(folder / "best" / f"step_{best}").step


def test_a_resumed_run_goes_on_comparing_with_the_best(tmp_path):
    short = ("checkpoint.every=4", "evaluate.metrics=[fid]")
    straight = train(evaluated(tmp_path / "straight", *short))
    train(evaluated(tmp_path / "halves", *short, "run.steps=7"))
    resumed = train(evaluated(tmp_path / "halves", *short), resume=True)
    assert same(state(straight), state(resumed))
    assert same(state(straight / "best"), state(resumed / "best"))


def test_of_a_classifier_the_best_is_the_most_accurate(tmp_path):
    game = {
        "name": "classification",
        "classifier": {"model": {"name": "mlp", "width": 16}, "optimizer": {"name": "sgd", "lr": 0.1}},
    }
    base = {"run": {"name": "c"}, "data": {"name": "digits", "split": "train"}, "game": game, "log": {"every": 5}}
    config = config_of(base, tmp_path, "run.steps=60", "evaluate={every: 10, data: {split: test}}")
    folder = train(config)
    values = {r["step"]: r["validation/accuracy"] for r in read_metrics(folder) if "validation/accuracy" in r}
    best = max(values, key=lambda step: (values[step], step))
    assert checkpoint.newest(folder / "best").name == f"step_{best}"
    report = evaluate_run(str(folder / "best"), Request())
    assert report["accuracy"] == pytest.approx(values[best], abs=1e-6) and report.about["step"] == best


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(evaluated(tmp_path_factory.mktemp("finished"), "run.steps=4", "evaluate.metrics=[fid]"))


def test_the_command_agrees_with_images_in_files(finished, tmp_path):
    report = evaluate_run(str(finished), Request(metrics=("fid",), weights="live", seed=5))
    saved = load(finished, weights="live")
    fake = Generated.of(saved.game, 5, network=saved.network)
    from gantrain.plotting.images import save_png

    (tmp_path / "images").mkdir()
    for index, piece in enumerate(fake.pieces([(i, min(64, 300 - 64 * i)) for i in range(5)], "cpu")):
        for row, image in enumerate(piece):
            save_png(image, tmp_path / "images" / f"{64 * index + row:05d}.png")
    from_files = evaluate_images(
        str(tmp_path / "images"), Request(metrics=("fid",), against="digits", features=str(CLASSIFIER))
    )
    assert from_files[NAME] == pytest.approx(report[NAME], rel=1e-6)
    assert report.about["weights"] == "live" and report.about["fake"]["samples"] == 300
    assert report.about["torch_fidelity"].startswith("0.4")


def test_the_command_prints_a_table_and_json(finished):
    arguments = ["eval", str(finished), "--metrics", "fid,prc"]
    table = gantrain(finished.parent, *arguments)
    assert table.output.startswith(NAME) and "extractor" in table.output and "0.4" in table.output
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert f"{found['values'][NAME]['value']:.5g}" in table.output
    assert found["about"]["fake"]["samples"] == 300 and found["about"]["weights"] == "ema"


def test_json_has_null_for_numbers_that_it_lacks():
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    report = Report({"own": Value(math.nan, error=math.inf, interval=(-math.inf, 1.5))}, {"samples": 3})
    found = json.loads(as_json(report), parse_constant=refuse)
    own = found["values"]["own"]
    assert own["value"] is None and own["error"] is None and own["interval"] == [None, 1.5]
    assert found["about"] == {"samples": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "eval: name either a run, or images with --images"),
        (
            ["nowhere"],
            "nowhere: no run here: there is nothing at nowhere in .*; expected a folder with .*",
        ),
        (["RUN", "--metrics", ","], "metrics: none were given; .*"),
        (["RUN", "--metrics", "fdi"], "metrics: unknown 'fdi'; .*did you mean 'fid'.*"),
        (["RUN", "--against", "nix"], "--against: there is nothing at nix in .*; expected .* a data set.*"),
        (["RUN", "--step", "77"], r".*: no whole checkpoint of step 77; there are \[4\]"),
        (["--images", "empty", "--metrics", "isc", "--features", "CLASSIFIER"], "empty: holds no image; .*"),
        (["--images", "RUN/samples", "--metrics", "fid", "--features", "CLASSIFIER"], "--against: name what .*"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(finished, tmp_path, arguments, message):

    (tmp_path / "empty").mkdir()
    places = {"RUN": str(finished), "CLASSIFIER": str(CLASSIFIER), "RUN/samples": str(finished / "samples")}
    command = Command(tmp_path, "eval", *(places.get(a, a) for a in arguments))
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert re.fullmatch(f"gantrain: {message}", line), line


def test_a_config_that_cannot_be_evaluated_is_refused_before_anything_is_written(tmp_path):
    wrong = {
        "evaluate.best=isc": "evaluate.best: isc is not measured; add isc to evaluate.metrics",
        "evaluate.metrics=[fid, fdi]": "evaluate.metrics.1: unknown metric 'fdi'; expected .*",
        "evaluate.metrics=[]": "evaluate.metrics: expected at least 1 value.*",
        "evaluate.sampels=3": "evaluate.sampels: unknown key; .*did you mean 'samples'.*",
        "evaluate.features=nowhere": "evaluate.features: neither inception nor .*: there is nothing at nowhere in .*",
        "ema=null evaluate.weights=ema": "evaluate.weights: ema was asked for, and the run keeps no average; .*",
        "evaluate.data={name: image_folder, path: colours}": r".*: images of 8 x 8 pixels \(RGB\), and the features .*",
    }
    written(tmp_path / "colours", torch.zeros(20, 3, 8, 8, dtype=torch.uint8))
    for overrides, message in wrong.items():
        shutil.rmtree(tmp_path / "digits", ignore_errors=True)
        every = [METRICS, f"evaluate.features={CLASSIFIER}", *overrides.replace("=null ", "=null\n").split("\n")]
        name = write(tmp_path, DIGITS, *every)
        command = Command(tmp_path, "train", name)
        assert command.wait() == 2, overrides
        (line,) = command.errors.splitlines()
        assert re.fullmatch(f"gantrain: (config.yaml: )?{message}", line), line
        assert not (tmp_path / "digits").exists(), overrides


def test_a_diverged_generator_is_said(tmp_path):
    saved = load(train(evaluated(tmp_path, "run.steps=3")))
    with torch.no_grad():
        next(saved.game.generator.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="holds NaN or infinity"):
        evaluate(Generated.of(saved.game), Images(Digits()), make_extractor(str(CLASSIFIER)), ("fid",), samples=20)


def test_accuracy_is_never_measured_on_the_training_data_unasked(tmp_path):
    with pytest.raises(ValidationError, match="is missing"):
        config_of(CLASSIFICATION, tmp_path, "evaluate={every: 10}")
