"""Statistics over seeds against numbers taken by hand, on metrics written by hand."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from tiny import RING, config_of

from gantrain.commands.compare import compare_runs
from gantrain.commands.comparison.compare import compare
from gantrain.commands.comparison.grid import Range, make_grid
from gantrain.commands.comparison.groups import read_groups
from gantrain.commands.comparison.pictures import curves as picture
from gantrain.config.loading import resolved
from gantrain.data.digest import Digest
from gantrain.errors import UserError
from gantrain.plotting import figures
from gantrain.plotting.images import rendered
from gantrain.runs.data_record import RECORD
from gantrain.runs.divergence import Divergence, record_divergence
from gantrain.runs.folder import prepare_folder
from gantrain.runs.last_rows import METRICS
from gantrain.utils.statistics import Share

FID = "frechet_distance[x]"


@pytest.fixture
def run(tmp_path):
    """Writes a run whose steps cost so many gradients and were evaluated as given, step -> value."""

    def write(name, cost, fid, *overrides, score=None, metric=FID):
        config = config_of(RING, tmp_path, f"run.name={json.dumps(name)}", *overrides)
        prepare_folder(tmp_path / name, resolved(config), resume=False, overwrite=False)
        lines, losses = [], {"loss/generator": 1.0, "loss/discriminator": 2.0}
        for step, value in fid.items():
            gradients = {"gradients/generator": cost * step // 2, "gradients/discriminator": cost * step}
            lines.append({"step": step, "time": 0.0, **losses, "kimg": step / 10, **gradients})
            lines.append({"step": step, "time": 0.0, metric: value})
            if score is not None:
                lines[-1]["inception_score[x]"] = score[step]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name

    return write


def test_runs_are_compared_at_the_cost_that_all_have_reached(run, tmp_path):
    runs = [
        run("a,seed=0", 1, {10: 8.0, 20: 2.0, 30: 4.0, 40: 0.5}),
        run("a,seed=1", 1, {10: 10.0, 20: 6.0, 30: 8.0, 40: 0.5}, "run.seed=1"),
        run("b,seed=0", 3, {5: 9.0, 11: 3.0}, "outer=rapp"),
    ]
    comparison = compare(runs)
    assert comparison.cost == 33 and comparison.limit == runs[2] and comparison.metrics == {FID: "lower"}
    a, b = comparison.groups
    assert (a.label, a.method, b.label, b.method) == ("a", "gda", "b", "rapp")
    # At 33 = 30 + 0.3 * 10: 4 - 0.3 * 3.5 = 2.95 and 8 - 0.3 * 7.5 = 5.75.
    assert comparison.last(a, FID).mean == pytest.approx((2.95 + 5.75) / 2)
    assert comparison.last(a, FID).error == pytest.approx((5.75 - 2.95) / 2)
    assert comparison.best(a, FID).mean == pytest.approx((2.0 + 5.75) / 2)
    assert comparison.last(b, FID).mean == 3.0 and math.isnan(comparison.last(b, FID).error)

    assert compare(runs, at="step").cost == 11 and compare(runs, at="kimg").cost == pytest.approx(1.1)
    assert compare(runs, at="step").last(a, FID).mean == pytest.approx((8 - 0.6 + 10 - 0.4) / 2)
    assert {g.label for g in compare([tmp_path]).groups} == {"a", "b"}
    costs, estimates = a.curve(FID, comparison.cost)
    assert costs.tolist() == [10, 20, 30, 40] and [e.mean for e in estimates] == [9, 4, 6, 0.5]


def test_the_best_of_a_score_is_the_highest_and_null_is_left_out(run):
    folder = run("a", 1, {1: 9.0, 2: None, 3: 7.0}, score={1: 4.0, 2: 6.0, 3: 5.0})
    comparison = compare([folder], ["fid", "isc"])
    (group,) = comparison.groups
    assert comparison.metrics == {FID: "lower", "inception_score[x]": "higher"}
    assert comparison.best(group, "inception_score[x]").mean == 6.0
    assert group.curve(FID, 3)[0].tolist() == [1, 3]


def test_a_run_that_stopped_early_limits_all_and_losses_stand_in_for_metrics(run):
    short, long = run("a", 1, {10: 5.0, 20: 1.0}), run("b", 1, {10: 5.0, 40: 1.0}, "run.seed=1")
    assert compare([short, long]).cost == 20 and compare([short, long]).groups[0].label == "a"
    unmeasured = run("c", 1, {10: 0.0}, "run.seed=2", metric="score/real")
    assert compare([short, unmeasured]).metrics == {"loss/generator": None, "loss/discriminator": None}
    late = run("d", 1, {50: 1.0}, "run.seed=3")
    with pytest.raises(UserError, match=r"a: has reached only 20 gradient evaluations, and .*d begins at 50; leave"):
        compare([short, late], ["fid"])


def test_a_budget_that_is_no_multiple_of_a_step_is_reached_at_the_next(run):
    """At 20 gradients, a run whose steps cost three has been measured after its last step, at 21."""
    even, odd = run("a", 1, {20: 5.0}), run("b", 3, {7: 2.0}, "outer=rapp")
    comparison = compare([even, odd])
    assert comparison.cost == 20
    assert [comparison.last(group, FID).mean for group in comparison.groups] == [5.0, 2.0]
    with pytest.raises(UserError, match=r"a: has reached only 20 gradient evaluations, and .*c begins at 24; leave"):
        compare([even, run("c", 3, {8: 2.0}, "outer=rapp")])


def test_a_long_log_is_read_and_drawn_at_once(run, monkeypatch):
    looked, interp = [], np.interp
    monkeypatch.setattr(np, "interp", lambda *arguments: (looked.append(1), interp(*arguments))[1])
    (group,) = read_groups([run("long", 1, {step: float(step) for step in range(1, 201)})], "step")
    costs, estimates = group.curve(FID, 200)
    assert costs.tolist() == [estimate.mean for estimate in estimates] == list(range(1, 201))
    assert len(looked) == 2


def test_steps_that_cost_more_or_less_are_said_with_the_axis_on_which_they_are_equal(run):
    one, two = run("a", 1, {10: 4.0, 20: 2.0}), run("b", 3, {5: 4.0, 20: 2.0}, "outer=rapp")
    said = "a training step costs 1 to 3 gradient evaluations, by the run; --at step compares at equal steps"
    assert compare_runs([one, two]).splitlines()[1] == said
    assert "--at step" not in compare_runs([one, two], at="step") + compare_runs([two]) + compare_runs([one], at="kimg")
    late = run("c", 3, {20: 2.0}, "outer=rapp")
    with pytest.raises(UserError, match="begins at 60; compare at equal steps with --at step, or leave one of the two"):
        compare([one, late])
    assert compare([one, late], at="step").cost == 20


def test_a_single_seed_has_no_interval(run):
    one, two = run("a", 1, {10: 4.0}), run("b", 1, {10: 3.0}, "outer=rapp")
    said = "train two seeds at least, as with gantrain sweep --seeds 2"
    for correct in ("none", "holm"):
        text = compare_runs([one, two], baseline="a", correct=correct)
        assert said in text
        assert text.endswith("no difference can be tested: an interval takes two pairs of seeds at least")
    more = [run("a2", 1, {10: 5.0}, "run.seed=1"), run("b2", 1, {10: 5.0}, "outer=rapp", "run.seed=1")]
    text = compare_runs([one, two, *more], baseline="a")
    assert said not in text and "no difference can be tested" not in text


def test_tables_and_picture(run, tmp_path):
    runs = [
        run(f"{m},seed={s}", 1, {10: 4.0 + s, 20: 2.0}, f"run.seed={s}", f"outer={m}")
        for m in ("gda", "rapp")
        for s in (0, 2)
    ]
    text = compare_runs(runs, output=str(tmp_path / "out"))
    assert f"{FID} (lower is better)" in text and "2 ± 0" in text and text.endswith("out/comparison.png")
    with (tmp_path / "out" / "curves.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert first == {"metric": FID, "group": "gda", "seeds": "2", "gradients": "10.0", "mean": "5.0", "error": "1.0"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["comparison.csv", "comparison.png", "curves.csv"]


def methods(run, values, metric=FID):
    """A group of runs for each method, with the given last values for the seeds."""
    return [
        run(f"{method},seed={seed}", 1, {10: 5.0, 20: value}, f"run.seed={seed}", f"outer={method}", metric=metric)
        for method, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


def starred(text, metric=FID):
    """The groups with a star in the column of the last values, and the lines about the metric."""
    block = next(block for block in text.split("\n\n") if block.startswith(f"{metric} ("))
    return [line.split()[0] for line in block.splitlines()[2:] if line.count("*")]


@pytest.mark.parametrize(
    ("values", "leaders"),
    [
        ({"gda": [2.0, 2.2], "rapp": [3.0, 3.2]}, ["gda"]),
        ({"gda": [3.0, 3.2], "rapp": [2.0, 2.2], "optimistic": [4.0, 4.2]}, ["rapp"]),
        ({"gda": [2.0, 3.0], "rapp": [2.6, 3.4]}, []),  # 0.5 apart, with an error of the difference of 0.64
        ({"gda": [2.0, 2.2], "rapp": [2.0, 2.2], "optimistic": [4.0, 4.2]}, []),
        ({"gda": [2.0], "rapp": [9.0]}, []),  # one seed has no error
        ({"gda": [2.0, 2.2]}, []),
    ],
)
def test_a_group_leads_if_it_is_ahead_by_more_than_the_errors(run, values, leaders):
    assert starred(compare_runs(methods(run, values))) == leaders


def test_of_a_score_the_highest_leads(run):
    text = compare_runs(methods(run, {"gda": [2.0, 2.2], "rapp": [3.0, 3.2]}, "inception_score[x]"))
    assert "inception_score[x] (higher is better)" in text and starred(text, "inception_score[x]") == ["rapp"]


def test_losses_of_a_game_and_scores_rank_nobody(run, tmp_path):
    runs = methods(run, {"gda": [2.0, 2.2], "rapp": [3.0, 3.2]}, "score/real")
    for metric, why in (
        ("loss/generator", "not ranked: the loss of a game does not say which run is better"),
        ("score/real", "not ranked: nobody says which of two values is better"),
    ):
        comparison = compare(runs, [metric])
        assert comparison.metrics == {metric: None} and comparison.best(comparison.groups[0], metric) is None
        text = compare_runs(runs, [metric], output=str(tmp_path / "out"))
        assert f"{metric} ({why})" in text and "best" not in text.partition(f"({why})")[2] and "*" not in text
        with (tmp_path / "out" / "comparison.csv").open() as stream:
            assert {(row["better"], row["best"]) for row in csv.DictReader(stream)} == {("", "")}
        assert picture(comparison).axes[0].get_ylabel() == "not ranked"
    assert picture(compare(methods(run, {"optimistic": [1.0]}))).axes[0].get_ylabel() == "lower is better"


def test_where_nothing_was_evaluated_the_losses_are_shown_with_advice(run):
    text = compare_runs(methods(run, {"gda": [1.0, 2.0], "rapp": [3.0, 4.0]}, "score/real"))
    assert "loss/generator (not ranked" in text and "loss/discriminator (not ranked" in text and "*" not in text
    advice = text.splitlines()[-1]
    assert advice.startswith("no metric of quality was measured in all runs (") and "evaluate:" in advice
    assert "no metric of quality" not in compare_runs(methods(run, {"ceg_plus": [1.0, 2.0]}))


def test_metrics_come_in_the_order_of_their_table(run):
    folder = run("a", 1, {1: 9.0, 3: 7.0}, score={1: 4.0, 3: 5.0}, metric="precision[x]")
    assert list(compare([folder]).metrics) == ["inception_score[x]", "precision[x]"]


def classifier(run, name, method, *overrides):
    """A run of one player alone, whose loss is 1 or 2."""
    folder = run(name, 1, {10: 1.0}, f"outer={method}", *overrides, metric="score/accuracy")
    lines = (folder / "metrics.jsonl").read_text().replace('"loss/generator"', '"loss/classifier"')
    (folder / "metrics.jsonl").write_text(lines.replace('"loss/discriminator": 2.0, ', ""))
    return folder


def test_the_loss_of_an_only_player_ranks_runs_of_the_same_game(run):
    runs = [classifier(run, "a", "gda"), classifier(run, "b", "rapp", "data.batch_size=16")]
    assert compare(runs).metrics == {"loss/classifier": "lower"}
    assert "loss/classifier (lower is better, on the training batches)" in compare_runs(runs)
    other = classifier(run, "c", "optimistic", "game.loss=hinge")
    assert compare([*runs, other]).metrics == {"loss/classifier": None}


def test_what_cannot_be_compared_is_one_line(run, tmp_path):
    folder = run("a", 1, {10: 5.0})
    again = run("again", 1, {10: 5.0})
    (tmp_path / "empty").mkdir()
    for runs, metrics, message in (
        ([tmp_path / "none"], None, "none: no run here: there is nothing at none in .*; expected a folder of a run"),
        ([tmp_path / "empty"], None, "empty: no run here and none in it; expected a folder of a run, or of runs"),
        ([], None, "no run to compare"),
        ([folder, again], None, "a and .*again: have the same seed, 0, and train the same by their configs; leave"),
        ([folder], ["losss/generator"], "a: has logged no losss/generator; .*did you mean 'loss/generator'"),
        ([folder], [], "--metrics: expected the name of a metric"),
    ):
        with pytest.raises(UserError, match=message):
            compare(runs, metrics)
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="a: has logged no step yet"):
        compare([folder])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file: cannot be written: "):
        compare_runs([again], output=str(tmp_path / "file"))


def test_runs_on_other_data_are_other_groups_wherever_the_data_lie(run):
    runs = [run(f"{name},seed={seed}", 1, {10: 1.0}, f"run.seed={seed}") for name in "ab" for seed in (0, 1)]
    with pytest.raises(UserError, match="a,seed=0 and .*b,seed=0: have the same seed, 0, and train"):
        compare(runs)
    for folder in runs:
        digest = Digest(500, content=folder.name[0], sizes="also kept on disk" if "seed=1" in folder.name else None)
        (folder / RECORD).write_text(json.dumps(digest.as_dict()))
    assert [(group.label, len(group.runs)) for group in compare(runs).groups] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize("key", ["run.steps", "data.accumulation"])
def test_runs_of_one_seed_are_told_apart_by_how_long_and_how_they_train(run, key):
    """Runs of different seeds are one group all the same, such as those of a sweep of which one went on."""
    one, other = ("8", "16")
    seeds = [run(f"a,seed={seed}", 1, {10: 1.0}, f"run.seed={seed}", f"{key}={one}") for seed in (0, 1)]
    longer = run("b,seed=1", 1, {10: 3.0}, "run.seed=1", f"{key}={other}")
    again = run("c,seed=2", 1, {10: 3.0}, "run.seed=2", f"{key}={other}")
    assert [(group.label, len(group.runs)) for group in compare([seeds[0], longer]).groups] == [("a", 2)]
    runs = [*seeds, longer, again]
    expected = [(f"a {key}={one}", 2), (f"b {key}={other}", 2)]
    assert [(group.label, len(group.runs)) for group in compare(runs).groups] == expected
    grid = make_grid(compare(runs), [key])
    assert grid.values == (int(one), int(other)) and len(grid.methods) == 1


def test_one_run_named_twice_counts_once(run, tmp_path):
    folder = run("a", 1, {10: 5.0})
    assert compare([folder, tmp_path, folder / ".." / "a"]).groups[0].runs[0].folder == folder


def test_curves_have_the_colour_of_their_method_and_a_band_of_their_error():
    x = [0, 1, 2]
    drawn = [
        figures.Curve("one", "rapp", x, [1, 2, 3], [0.5, 0.5, 0.5]),
        figures.Curve("two", "rapp", x, [1, 2, 90], [math.nan] * 3),
    ]
    figure = figures.comparison({"fid": drawn, "loss": drawn[:1]}, "steps", mark=1.5)
    first, second = figure.axes
    lines = {line.get_label(): line for line in first.get_lines()}
    assert lines["one"].get_color() == lines["two"].get_color() == figures.COLOURS["rapp"]
    assert (lines["one"].get_linestyle(), lines["two"].get_linestyle()) == ("-", "--")
    edges = second.collections[0].get_paths()[0].vertices
    assert (edges[:, 1].min(), edges[:, 1].max()) == (0.5, 3.5)
    assert first.get_yscale() == "log" and second.get_yscale() == "linear"
    assert rendered(figure).float().std() > 10


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kimg": "x"}, "metrics.jsonl:1: 'kimg': expected a number or null, found \"x\""),
        ({"step": "1"}, "metrics.jsonl:1: 'step': expected a count of steps"),
        ({"gradients/generator": None}, "metrics.jsonl: the row of step 5 does not say its gradients; leave"),
    ],
)
def test_rows_that_are_not_a_runs_are_one_line(run, row, said):
    folder = run("a", 2, {5: 1.0})
    first, *others = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([json.dumps(json.loads(first) | row), *others]) + "\n")
    with pytest.raises(UserError, match=said):
        compare([folder])


def test_numbers_that_no_axis_holds_and_costs_that_never_meet_are_compared(run, tmp_path):
    runs = [run("a", 1, {5: 1e308, 10: -1e308, 15: 3.0}), run("b", 1, {40: 2.0, 50: 1.0}, "run.seed=1")]
    text = compare_runs([runs[0]], output=str(tmp_path / "out"))
    assert "3" in text and (tmp_path / "out" / "comparison.png").exists()
    (runs[0] / "metrics.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "step": step,
                    "time": 0.0,
                    "kimg": step,
                    "gradients/generator": step,
                    **({FID: 2.0} if step < 9 else {}),
                }
            )
            + "\n"
            for step in (5, 60)
        )
    )
    compare_runs(runs, output=str(tmp_path / "apart"))
    assert (tmp_path / "apart" / "comparison.png").exists()


@pytest.mark.parametrize("steps", [(10, 5), (0, 0), (0,)])
def test_a_log_whose_steps_do_not_go_up_is_one_line(run, steps):
    folder = run("a", 1, {5: 1.0})
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(first | {"step": step}) + "\n" for step in steps))
    with pytest.raises(UserError, match="a/metrics.jsonl: steps or their gradients do not go up; it is damaged"):
        compare([folder])


def with_seeds(run, values):
    """A group of runs for each method, with the given last values by their seeds."""
    return [
        run(f"{method},seed={seed}", 1, {10: 5.0, 20: value}, f"run.seed={seed}", f"outer={method}")
        for method, numbers in values.items()
        for seed, value in numbers.items()
    ]


def diverge(folder, step):
    """Make a run one that diverged after a step."""
    kept = [line for line in (folder / METRICS).read_text().splitlines() if json.loads(line)["step"] <= step]
    (folder / METRICS).write_text("".join(f"{line}\n" for line in kept))
    record_divergence(folder, Divergence(step + 1, "loss/generator is nan"))


def test_differences_are_paired_by_seed_and_say_what_has_no_pair(run, tmp_path):
    runs = with_seeds(run, {"gda": {0: 4.0, 1: 5.0, 2: 6.0, 3: 9.0}, "rapp": {0: 3.0, 1: 3.0, 2: 3.0}})
    runs += with_seeds(run, {"optimistic": {7: 1.0, 8: 2.0}})
    text = compare_runs(runs, baseline="gda", output=str(tmp_path / "out"))
    rows = [line.split() for line in text.splitlines()]
    # The differences to gda are -1, -2 and -3; s = 1, and t is 3.46 with 2 degrees of freedom.
    assert ["rapp", "gda", "-2", "-4.48", "to", "+0.484", "3", "0.074"] in rows
    assert any(row[:2] == ["optimistic", "gda"] and row[6:9] == ["2", "+", "4"] for row in rows)
    assert "only gda has seed 3" in text and "Welch's t test" in text and "2 comparisons, not corrected" in text
    corrected = compare_runs(runs, pairs=True, correct="holm", confidence=0.9)
    assert "p adjusted by Holm for 3 comparisons; the intervals hold together with 90 % (Bonferroni: each" in corrected
    with (tmp_path / "out" / "differences.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert (first["difference"], first["test"], first["seeds"], first["p"]) == ("-2.0", "paired", "3", first["p_alone"])


def test_runs_that_diverged_are_counted_and_do_not_lower_the_cost(run):
    runs = with_seeds(run, {"gda": {0: 2.0, 1: 2.2, 2: 2.1}, "rapp": {0: 3.0, 1: 3.2}})
    diverge(runs[1], 10)
    comparison = compare(runs)
    gda = comparison.groups[0]
    assert comparison.cost == 20 and comparison.values(gda, FID) == {0: 2.0, 1: None, 2: 2.1}
    text = compare_runs(runs, baseline="gda")
    assert "2 of 3, 1 diverged" in text and not starred(text) and "gda diverged with seed 1" in text
    assert compare(runs, ceiling=2.05).values(gda, FID) == {0: 2.0, 1: 2.05, 2: 2.05}
    assert "3 of 3, 1 as ceiling" in compare_runs(runs, ceiling=9.0)
    (runs[1] / METRICS).unlink()  # it diverged before the first row
    assert compare(runs).diverged(gda, FID) == 1
    for folder in runs[:1] + runs[2:]:
        record_divergence(folder, Divergence(5, "nan"))
    with pytest.raises(UserError, match="diverged, and so did all other runs"):
        compare(runs)


RATES = "game.generator.optimizer.lr", "game.discriminator.optimizer.lr"


@pytest.fixture
def rates(run):
    """Two methods over learning rates; of the first, a run diverges at the highest."""
    values = {"gda": {0.001: (3.0, 4.0), 0.002: (6.0, 7.0), 0.004: (9.0, 9.0)}}
    values["rapp"] = {0.001: (8.0, 8.0), 0.002: (5.0, 5.5), 0.004: (4.0, 4.5), 0.008: (7.0, 9.0)}
    folders = []
    for method, grid in values.items():
        for lr, numbers in grid.items():
            for seed, value in enumerate(numbers):
                keys = [f"{key}={lr}" for key in RATES]
                name = f"outer={method},lr={lr},seed={seed}"
                folders.append(run(name, 1, {10: 5.0, 20: value}, f"run.seed={seed}", f"outer={method}", *keys))
    diverge(folders[5], 10)
    return folders


def test_methods_over_a_grid(rates, tmp_path):
    grid = make_grid(compare(rates), RATES, threshold=6.0)
    assert grid.values == (0.001, 0.002, 0.004, 0.008) and grid.log and grid.numeric
    gda, rapp = grid.methods
    assert (gda.label, rapp.label) == ("outer=gda", "outer=rapp")
    assert grid.best(gda, FID).value == 0.001 and grid.edge(gda, grid.best(gda, FID)) == "below"
    assert grid.best(rapp, FID).value == 0.004 and not grid.edge(rapp, grid.best(rapp, FID))
    # The means are 8, 5.25, 4.25 and 8, at equal widths.
    assert grid.area(rapp, FID) == pytest.approx((8 / 2 + 5.25 + 4.25 + 8 / 2) / 3) and grid.area(gda, FID) is None
    assert grid.share(gda, FID) == Share(2, 6) and grid.share(rapp, FID) == Share(4, 8)
    assert grid.tolerated(rapp, FID) == Range(0.002, 0.004, False, False)
    assert grid.tolerated(gda, FID) == Range(0.001, 0.001, True, False)
    best, area = grid.contrasts("gda")
    assert best.difference.mean == pytest.approx(0.75) and area.difference is None and "--ceiling" in area.notes[0]

    capped = make_grid(compare(rates, ceiling=10.0), RATES, threshold=6.0)
    # Seed 0: gda 3, 6, 9 has 6, rapp 8, 5, 4 has 5.5; seed 1: gda 4, 7, 10 has 7, rapp 8, 5.5, 4.5 has 5.875.
    assert capped.contrasts("gda")[1].difference.mean == pytest.approx((-0.5 - 1.125) / 2)

    out = tmp_path / "out"
    text = compare_runs(rates, over=RATES, threshold=6.0, baseline="gda", output=str(out), correct="holm")
    assert "0.001, edge of the grid: extend it below" in text and "0.002 to 0.004, 2x" in text
    assert "9 (1 of 2 diverged)" in text and "needs --ceiling" in text and "logarithmic in" in text
    assert ["outer=rapp", "outer=gda", "4", "times", "at", "most", "2", "times"] in [
        r.split() for r in text.splitlines()
    ]
    names = ["differences.csv", "differences.png", "grid.csv", "grid.png", "methods.csv"]
    assert sorted(p.name for p in out.iterdir()) == names
    with (out / "methods.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["method"], row["at"], row["edge"], row["beyond"]) for row in rows] == [
        ("outer=gda", "0.001", "below", "2"),
        ("outer=rapp", "0.004", "", "4"),
    ]


def test_values_that_are_no_numbers_have_no_area(rates):
    grid = make_grid(compare(rates), ["outer"])
    assert [method.label for method in grid.methods] == [f"lr={lr}" for lr in (0.001, 0.002, 0.004, 0.008)]
    assert not grid.numeric and len(grid.values) == 2
    text = compare_runs(rates, over=["outer"], baseline="0.001")
    assert "area" not in text and "edge" not in text and "rapp" in text


def test_what_cannot_be_compared_in_this_way_is_one_line(rates):
    for options, said in (
        ({"baseline": "lr"}, "--baseline lr: stands in several labels: .*; write a part that only one has"),
        ({"baseline": "gdaa"}, "--baseline gdaa: no group has this label; expected one of outer=gda,lr=0.001, "),
        ({"baseline": "gda", "pairs": True}, "--baseline and --pairs: choose one of the two"),
        ({"correct": "holm"}, "--correct holm: there are no comparisons to correct; add --baseline GROUP or --pairs"),
        ({"confidence": 0.9}, "--confidence: there are no intervals; add --baseline GROUP or --pairs, or --threshold"),
        ({"threshold": 1.0}, "--threshold: is for runs over the values of a key; add --over KEY"),
        ({"over": ["outer.lrr"]}, "--over outer.lrr: the config of .* has no such key"),
        ({"over": [RATES[0], "data.batch_size"]}, "has game.generator.optimizer.lr=0.001 and data.batch_size=32"),
        ({"metrics": ["fid", "score/x"]}, "has logged no score/x"),
        ({"metrics": ["fid", "loss/generator"], "ceiling": 1.0}, "--ceiling: is a value of one metric, and frechet"),
        ({"metrics": ["loss/generator"], "ceiling": 1.0}, "--ceiling: loss/generator ranks no runs"),
    ):
        with pytest.raises(UserError, match=said):
            compare_runs(rates, **options)
    with pytest.raises(UserError, match="--pairs: there is only one group, outer=gda,lr=0.001"):
        compare_runs(rates[:2], pairs=True)
