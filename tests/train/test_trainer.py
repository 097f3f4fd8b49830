from __future__ import annotations

import io
import math
import pickle
import re
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tiny import RING, config_of, rows, same, state
from torch.nn.functional import softplus

import gantrain as gt
from gantrain.builders import make_game
from gantrain.commands.train import train
from gantrain.config.loading import dump
from gantrain.config.parts import build
from gantrain.data.batch import Batches
from gantrain.errors import Notice, UserError
from gantrain.plotting.images import load_png, row_height
from gantrain.runs import checkpoint
from gantrain.runs.monitor import read_metrics
from gantrain.runs.tags import tag
from gantrain.train.trainer import Trainer

# How much of its files TensorBoard's reader keeps.
EVERYTHING = dict.fromkeys(("scalars", "images", "tensors", "histograms"), 0)
GDA = "outer={name: gda, order: alternating}"
EXTRAGRADIENT = "outer=extragradient"
CRITICS = "outer={name: gda, critic_steps: 3}"
RAPP = "outer={name: rapp, inner_steps: 4}"
LOOKAHEAD = "outer={name: lookahead, inner_steps: 3, base: extragradient}"


@pytest.mark.parametrize(
    ("outer", "discriminator", "generator", "draws"),
    [
        pytest.param(GDA, 1, 1, 1, marks=pytest.mark.slow),
        pytest.param(EXTRAGRADIENT, 2, 2, 2, marks=pytest.mark.slow),
        (CRITICS, 3, 1, 3),
        (RAPP, 4, 4, 4),
        (LOOKAHEAD, 2, 2, 2),
    ],
)
def test_each_budget_ends_the_run_at_the_first_step_that_uses_it_up(ring, outer, discriminator, generator, draws):
    for number, (budget, steps) in enumerate(
        [
            ("run.steps=7", 7),
            ("run.gradients=9", math.ceil(9 / discriminator)),
            ("run.kimg=0.384", math.ceil(384 / (32 * draws))),
        ]
    ):
        folder = train(ring(outer, "run.steps=null", budget, f"run.name=run{number}", "log.every=4"))
        assert checkpoint.newest(folder).name == f"step_{steps}", budget
        logged = rows(folder)
        assert [row["step"] for row in logged] == [*range(4, steps, 4), steps], budget
        for row in logged:
            assert row["gradients/discriminator"] == discriminator * row["step"]
            assert row["gradients/generator"] == generator * row["step"]
            assert row["kimg"] == 32 * draws * row["step"] / 1000
            assert row["outer_steps"] == row["step"] // (3 if outer == LOOKAHEAD else 1)


AMOUNTS = (
    "log.every={kimg: 0.2}",
    "checkpoint.every={kimg: 0.3}",
    "checkpoint.keep=20",
)


def multiples(steps: int, per_step: float, interval: float) -> list[int]:
    """The steps in which a multiple of the interval comes, and the last."""
    passed = [n for n in range(1, steps) if n * per_step // interval > (n - 1) * per_step // interval]
    return [*passed, steps]


@pytest.mark.parametrize(
    ("outer", "gradients", "draws"),
    [
        pytest.param(GDA, 1, 1, marks=pytest.mark.slow),
        pytest.param(CRITICS, 3, 3, marks=pytest.mark.slow),
        (RAPP, 4, 4),
    ],
)
def test_what_is_due_is_due_when_the_clock_passes_a_multiple(digits, outer, gradients, draws):
    folder = train(digits(outer, *AMOUNTS, "samples.every={gradients: 5}", "run.steps=15"))
    logged = [row for row in rows(folder) if "kimg" in row]
    assert [row["step"] for row in logged] == multiples(15, 32 * draws, 200)
    assert all("loss/generator" in row for row in logged)
    grids = [int(path.stem.removeprefix("step_")) for path in sorted((folder / "samples").glob("step_*.png"))]
    assert grids == multiples(15, gradients, 5)
    saved = sorted(int(path.name.removeprefix("step_")) for path in folder.glob("step_*"))
    assert saved == multiples(15, 32 * draws, 300)


def test_a_run_by_images_ends_alike_in_parts_and_may_change_its_intervals(ring):
    averages = (
        "ema=[{name: half, half_life_kimg: 0.3, ramp: 0.5}, {name: mean, uniform: true, of: anchor, start: 4}, "
        "{name: outer, half_life_kimg: 0.5, of: outer_iterate}]"
    )
    settings = (LOOKAHEAD, averages, *AMOUNTS)
    whole = train(ring(*settings))
    train(ring(*settings, "run.name=parts", "run.steps=8"))
    parts = train(ring(*settings, "run.name=parts"), resume=True)
    assert same(state(whole), state(parts))
    assert rows(whole) == [row for row in rows(parts) if row["step"] != 8]
    assert state(whole)["ema.mean"]["n_averaged"] == 16
    # Of the 20 steps every third completes an outer step, and 64 images are drawn in each of the two since the last.
    assert {key: state(whole)["ema.outer"][key] for key in ("n_averaged", "n_images")} == {
        "n_averaged": 6,
        "n_images": 128,
    }
    # Of the multiples of 250 images, 64 of which are drawn in a step, 1500 is the first after step 20.
    longer = train(ring(*settings, "run.name=parts", "run.steps=27", "log.every={kimg: 0.25}"), resume=True)
    again = [row["step"] for row in rows(longer) if row["step"] > 20]
    assert again == [24, 27]


def test_averages_follow_their_formulas_in_a_run(ring):
    averages = (
        "ema=[{name: half, half_life_kimg: 0.3, ramp: 0.5}, {name: mean, uniform: true, of: anchor}, "
        "{name: outer, uniform: true, of: outer_iterate}]"
    )
    folder = train(ring(LOOKAHEAD, averages, "checkpoint.every=1", "checkpoint.keep=8", "run.steps=8"))
    half, anchors, outer, name = 0.0, [], [], "layers.0.weight"
    for n in range(8):
        saved = state(folder, n + 1)
        live, start = saved["generator"][name].double(), saved["outer"]["start"]
        half_life = min(300.0, 0.5 * 64 * n)
        kept = 0.5 ** (64 / half_life) if half_life else 0.0
        half = kept * half + (1 - kept) * live
        anchors.append(live if start is None else start["generator"][0].double())
        outer += [live] if start is None else []
    torch.testing.assert_close(saved["ema.half"][name].double(), half, rtol=0, atol=1e-6)
    torch.testing.assert_close(saved["ema.mean"][name].double(), sum(anchors) / 8, rtol=0, atol=1e-6)
    means = {"mean": sum(anchors) / 8, "outer": sum(outer) / 2}
    for weights, expected in (*means.items(), ("anchor", anchors[-1]), ("live", live), (None, half)):
        network = gt.load(folder, weights=weights).network
        torch.testing.assert_close(network.get_parameter(name).double(), expected, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="weights: expected one of half, mean, outer, live, anchor, got 'slow'"):
        gt.load(folder, weights="slow")


def test_each_of_several_weights_is_a_series_and_the_first_chooses_the_best(digits):
    section = "{every: 10, metrics: [prc], samples: 64, features: digits-classifier, weights: [anchor, ema, live]}"
    folder = train(digits(f"evaluate={section}", "outer={name: lookahead, inner_steps: 15}", "ema.decay=0.99"))
    measured = [row for row in rows(folder) if any("precision" in name for name in row)]
    assert [row["step"] for row in measured] == [10] * 3 + [20] * 3
    for row, weights in zip(measured, ["anchor", "ema", "live"] * 2, strict=True):
        assert row.keys() - {"step"} == {f"{name}[digits-classifier][{weights}]" for name in ("precision", "recall")}
    assert state(folder / "best")["evaluation"]["name"] == "precision[digits-classifier][anchor]"


def test_an_average_of_anchors_needs_a_loop_that_has_them(ring):
    with pytest.raises(UserError, match="^ema: of: anchor: the outer loop GDA has no anchor; use of: live, or"):
        train(ring(GDA, "ema.of=anchor"))


def test_the_first_of_several_budgets_counts(ring):
    folder = train(ring("run.steps=9", "run.gradients=100", "run.kimg=0.1"))
    assert rows(folder)[-1]["step"] == 4


def test_what_is_logged_is_what_the_game_says(ring):
    """The first step of simultaneous GDA against losses and gradients computed here."""
    config = ring("run.steps=1", "log.every=1", "outer=gda", "run.name=one")
    (row,) = rows(train(config))
    data = build("data", config.data.part)
    game = make_game(config, data)
    batch = Batches(data, 32, 0)(0, 0)
    fakes = game.generator(batch.normal("latent", 4))
    real, fake = game.discriminator(batch.real), game.discriminator(fakes.detach())
    losses = {
        "discriminator": (softplus(-real) + softplus(fake)).mean(),
        "generator": softplus(-game.discriminator(fakes)).mean(),
    }
    squares = {}
    for name, loss in losses.items():
        assert row[f"loss/{name}"] == pytest.approx(loss.item(), rel=1e-6)
        gradients = torch.autograd.grad(loss, game.players[name].parameters)
        squares[name] = sum(float(g.square().sum()) for g in gradients)
        assert row[f"gradient_norm/{name}"] == pytest.approx(squares[name] ** 0.5, rel=1e-5)
        assert row[f"lr/{name}"] == 1e-3
    assert row["gradient_norm/joint"] == pytest.approx(sum(squares.values()) ** 0.5, rel=1e-5)
    assert row["score/real"] == pytest.approx(real.mean().item(), rel=1e-5)
    assert row["score/fake"] == pytest.approx(fake.mean().item(), rel=1e-5)


def test_the_distance_from_the_initial_weights_is_that_of_the_seed_and_goes_on(ring):
    on = ("log.initial_distance=true", "log.every=1", "checkpoint.every=1", "checkpoint.keep=9", "run.steps=6")
    config = ring(*on, "run.name=whole")
    whole = train(config)
    torch.manual_seed(1)  # the weights are a function of the run's seed
    initial = make_game(config, build("data", config.data.part))
    require_distances(whole, {name: player.module.state_dict() for name, player in initial.players.items()})

    train(ring(*on, "run.name=parts", "run.steps=4"))
    parts = train(ring(*on, "run.name=parts"), resume=True)
    assert same(state(parts), state(whole)) and rows(parts) == rows(whole)

    warm = train(ring(*on, "run.name=warm", f"game.generator.init={{run: {whole}, weights: live}}"))
    require_distances(warm, {"generator": state(whole)["generator"]})
    with pytest.raises(UserError, match="^log.initial_distance: .*step_2 does not hold the weights with which the run"):
        train(ring("run.name=late", "run.steps=2"))
        train(ring(*on, "run.name=late"), resume=True)


def require_distances(folder: Path, initial: dict[str, dict[str, torch.Tensor]]) -> None:
    """Require that the logged distances are those between the checkpoints and ``initial``, which players have left."""
    for row in rows(folder):
        for name, start in initial.items():
            now = state(folder, row["step"])[name]
            square = sum((now[key].double() - start[key].double()).square().sum().item() for key in start)
            assert row[f"initial_distance/{name}"] == pytest.approx(square**0.5, rel=1e-5) and square > 0


def test_tensorboard_and_metrics_have_the_same_of_a_run(digits):
    config = digits(
        "run.steps=10",
        "log.every=4",
        "samples.every=5",
        "game.generator.scheduler={name: exponentiallr, gamma: 0.5}",
        "game.penalties=[{name: r1, every: 2}]",
    )
    folder = train(config)
    written = EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()
    logged = read_metrics(folder)
    assert [row["step"] for row in logged] == [4, 8, 10]
    names = {f"{kind}/{player}" for kind in ("loss", "gradient_norm", "lr", "gradients") for player in config_players}
    names |= {
        "score/real",
        "score/real_sign",
        "score/fake",
        "gradient_norm/joint",
        "images_per_second",
        "outer_steps",
        "kimg",
    }
    assert set(map(tag, names)) <= set(written.Tags()["scalars"])
    for name in {name for row in logged for name in row} - {"step"}:
        single = torch.tensor([row[name] for row in logged if name in row], dtype=torch.float32).tolist()
        assert [event.value for event in written.Scalars(tag(name))] == single, name
        assert [event.step for event in written.Scalars(tag(name))] == [row["step"] for row in logged if name in row]
    assert set(written.Tags()["scalars"]) == {tag(name) for row in logged for name in row} - {tag("step")}
    assert [row["lr/generator"] for row in logged] == [1e-3 * 0.5**step for step in (4, 8, 10)]
    assert [event.step for event in written.Images("samples")] == [5, 10]
    assert written.Images("samples")[1].encoded_image_string.startswith(b"\x89PNG")
    (real,) = written.Images("samples/real")
    assert torch.equal(load_png(io.BytesIO(real.encoded_image_string)), load_png(folder / "samples" / "real.png"))
    assert (real.height, real.width) == (written.Images("samples")[0].height, written.Images("samples")[0].width)
    for name in ("real", "fake"):
        shown = written.Histograms(f"score/distribution/{name}")
        means = [event.histogram_value.sum / event.histogram_value.num for event in shown]
        assert [(event.step, event.histogram_value.num) for event in shown] == [(4, 32), (8, 32), (10, 32)]
        assert means == pytest.approx([row[f"score/{name}"] for row in logged], rel=1e-4, abs=1e-6)
    (text,) = written.Tensors("config/text_summary")
    assert dump(config).strip() in text.tensor_proto.string_val[0].decode()
    (summary,) = (written.SummaryMetadata("_hparams_/session_start_info").plugin_data.content,)
    session = plugin_data_pb2.HParamsPluginData.FromString(summary).session_start_info
    assert session.hparams["game.generator.optimizer.lr"].number_value == 1e-3
    assert session.hparams["game.penalties"].string_value == "r1 (every 2)"
    summary = written.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(summary).experiment
    shown = [info.name.tag for info in experiment.metric_infos]
    assert shown == ["loss/discriminator", "loss/generator", "cost/time"]


config_players = ("generator", "discriminator")


def test_the_same_seed_gives_the_same_run_and_another_another(digits):
    first, again, other = (train(digits(f"run.name={name}", f"run.seed={seed}")) for name, seed in ("a1", "b1", "c2"))
    assert same(state(first), state(again)) and rows(first) == rows(again)
    assert not torch.equal(state(first)["generator"]["dense.weight"], state(other)["generator"]["dense.weight"])
    assert rows(first)[0]["loss/generator"] != rows(other)[0]["loss/generator"]


def test_sampling_and_saving_never_change_a_run(digits):
    often = train(digits("run.name=often", "samples.every=1", "checkpoint.every=3", "checkpoint.keep=3", LOOKAHEAD))
    seldom = train(digits("run.name=seldom", LOOKAHEAD))
    assert same(state(often), state(seldom)) and rows(often) == rows(seldom)
    assert sorted(path.name for path in often.glob("step_*")) == ["step_15", "step_18", "step_20"]
    assert len(list((often / "samples").glob("step_*.png"))) == 20
    image = load_png(often / "samples" / "step_000020.png")
    assert torch.equal(image, load_png(seldom / "samples" / "step_000020.png"))


def test_runs_of_one_process_may_differ_in_precision(ring):
    single = train(ring("run.name=single", "run.precision=fp32"))
    half = train(ring("run.name=half", "run.precision=bf16"))
    again = train(ring("run.name=again", "run.precision=fp32"))
    assert same(state(single), state(again))
    assert all(p.dtype == torch.float32 for p in state(half)["generator"].values())
    a, b = rows(single)[-1]["loss/generator"], rows(half)[-1]["loss/generator"]
    assert a != b and a == pytest.approx(b, rel=0.05)


def test_a_resumed_run_takes_the_newest_whole_checkpoint(ring):
    config = ring("checkpoint.every=5", "run.name=whole")
    whole = train(config)
    damaged = ring("checkpoint.every=5", "run.name=damaged", "run.steps=15")
    folder = train(damaged)
    with (folder / "step_15" / "generator.safetensors").open("r+b") as file:
        file.write(b"damage")
    longer = ring("checkpoint.every=5", "run.name=damaged", "run.steps=17")
    with pytest.warns(Notice, match="step_15/generator.safetensors: damaged"):
        train(longer, resume=True)
    # Nothing that may hold training is deleted.
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_15", "step_15.damaged", "step_17"]
    train(ring("checkpoint.every=5", "run.name=damaged"), resume=True)
    assert same(state(folder), state(whole))
    of = {row["step"]: row for row in rows(folder)}
    assert {step: row for step, row in of.items() if step % 2 == 0} == {row["step"]: row for row in rows(whole)}


def test_a_finished_run_resumed_stays_as_it_is(ring, capsys):
    folder = train(ring())
    before, logged = state(folder), rows(folder)
    train(ring(), resume=True)
    assert same(state(folder), before) and rows(folder) == logged
    printed = capsys.readouterr().out
    assert f"finished at step 20; the run is in {folder}" in printed
    assert len(re.findall(r"^first step after \d+\.\d s$", printed, re.M)) == 1


class Code:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "executed")


def test_nothing_in_the_folder_is_executed(ring, tmp_path):
    folder = train(ring("run.steps=4", "checkpoint.every=2"))
    code = pickle.dumps(Code(tmp_path / "executed"))
    for name in ("random_states_0.pkl", "custom_checkpoint_0.pkl", "optimizer.bin", "step_9"):
        (folder / name).write_bytes(code)
    for name in ("generator.safetensors", "generator.bin", "state.json"):
        (folder / "step_4" / name).write_bytes(code)
    with pytest.warns(Notice, match="step_4/generator.safetensors: damaged"):
        train(ring("run.steps=6"), resume=True)
    assert not (tmp_path / "executed").exists()
    assert checkpoint.newest(folder).name == "step_6"


@pytest.mark.parametrize("log", [1, 1000])
def test_a_run_that_diverges_says_where_and_leaves_only_what_is_finite(ring, log):
    config = ring(
        "game.loss=wasserstein",
        "game.generator.optimizer={name: sgd, lr: 100.0}",
        "game.discriminator.optimizer={name: sgd, lr: 100.0}",
        "run.steps=300",
        f"log.every={log}",
        "checkpoint.every=1",
    )
    with pytest.raises(UserError, match=r"^step \d+: .*(generator|discriminator).* (nan|inf|-inf); ") as caught:
        train(config)
    assert "\n" not in str(caught.value)
    folder = Path(config.run.folder) / "ring"
    stopped = int(str(caught.value).split()[1].rstrip(":"))
    assert checkpoint.newest(folder).name == f"step_{stopped - 1}"
    for player in config_players:
        assert all(p.isfinite().all() for p in state(folder)[player].values())
    if log == 1:
        logged = rows(folder)
        assert logged[-1]["step"] == stopped - 1
        assert all(math.isfinite(value) for row in logged for value in row.values())


def test_a_folder_is_never_overwritten_unasked(ring, tmp_path):
    folder = train(ring())
    with pytest.raises(UserError, match="this run exists; add --resume to go on, --overwrite to start over"):
        train(ring())
    with pytest.raises(UserError, match=r"game.generator.optimizer.lr: the run in .* has 0.001, this config 0.01"):
        train(ring("game.generator.optimizer.lr=0.01"), resume=True)
    train(ring("game.generator.optimizer.lr=0.01", "run.steps=2"), overwrite=True)
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_2"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UserError, match="exists and is not a run"):
        train(ring("run.name=mine"), overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        train(ring("run.name=file"))


def test_more_processes_asked_for_than_run_is_an_error(ring, tmp_path):
    with pytest.raises(UserError, match="2 processes were asked for, but 1 runs"):
        train(ring("run.processes=2"))
    with pytest.raises(UserError, match="4 processes were asked for, but 1 runs"):
        train(ring(), processes=4)
    assert not list(tmp_path.iterdir())


def test_threads_are_set_for_the_run_alone(tmp_path, monkeypatch):
    before, during = torch.get_num_threads(), []
    step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", lambda *a, **k: during.append(torch.get_num_threads()) or step(*a, **k))
    torch.set_num_threads(2)
    try:
        train(config_of(RING, tmp_path, "run.steps=2", "run.threads=1"))
        assert during == [1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._generator.safetensors", "desktop.ini"])
def test_a_file_that_is_not_ours_changes_nothing(ring, name):
    settings = ("checkpoint.every=2", "samples.every=4")
    folder = train(ring("run.steps=4", *settings))
    for place in (folder, folder / "step_4", folder / "samples"):
        (place / name).write_bytes(b"\x80")
    train(ring("run.steps=6", *settings), resume=True)
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_4", "step_6"]
    assert [row["step"] for row in rows(folder)] == [2, 4, 6]


def test_foreign_and_damaged_pictures_are_left_out_of_the_samples_over_time(digits):
    folder = train(digits("run.steps=4", "samples.every=2"))
    samples = folder / "samples"
    for name in ("step_x.png", "._step_000500.png", "step_000003.png", "step_.png", "step_\u0662.png"):
        (samples / name).write_bytes(b"no picture")
    (samples / "step_000001.png").mkdir()
    (samples / "step_000002.png").write_bytes((samples / "step_000002.png").read_bytes()[:-40])
    train(digits("run.steps=6", "samples.every=2"), resume=True)
    assert load_png(samples / "over_time.png").shape[1] == 2 * row_height(8)  # of the steps 4 and 6


def test_a_signal_at_the_step_of_a_checkpoint_saves_once(ring, monkeypatch):
    saved, save, step = [], checkpoint.save, Trainer.train_step

    def signalled(trainer, *arguments, **keywords):
        step(trainer, *arguments, **keywords)
        if trainer.step == 10:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", signalled)
    monkeypatch.setattr(checkpoint, "save", lambda *arguments: saved.append(arguments[1]) or save(*arguments))
    with pytest.raises(SystemExit) as caught:
        train(ring("checkpoint={every: 5, keep: 1}"))
    assert caught.value.code == 128 + signal.SIGTERM and saved == [5, 10]


def test_a_damaged_best_is_set_aside(tmp_path):
    config = config_of(RING, tmp_path, "run.steps=4", "checkpoint.every=2")
    folder = train(config)
    (folder / "best").mkdir()
    checkpoint.save(folder / "best", 2, {"evaluation": {"name": "fid", "cost": 1.0}}, 1)
    (folder / "best" / "step_2" / "state.json").write_text("")
    with pytest.warns(Notice, match="best/step_2: kept as step_2.damaged"):
        train(config_of(RING, tmp_path, "run.steps=6"), resume=True)
    assert [path.name for path in (folder / "best").iterdir()] == ["step_2.damaged"]


def test_a_process_that_was_taken_over_saves_nothing_more(ring, monkeypatch, tmp_path):
    step = Trainer.train_step

    def taken(trainer, *arguments, **keywords):
        step(trainer, *arguments, **keywords)
        if trainer.step == 3:
            trainer.writer.wait()
            (trainer.folder / "lock").write_text('{"host": "node7", "process": 1, "since": "now"}')

    monkeypatch.setattr(Trainer, "train_step", taken)
    with pytest.raises(UserError, match="ring: .* has taken this run over, since this process gave no sign of life"):
        train(ring("checkpoint.every=2"))
    assert [path.name for path in (tmp_path / "ring").glob("step_*")] == ["step_2"]
    assert (tmp_path / "ring" / "lock").exists()
