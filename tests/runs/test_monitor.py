from __future__ import annotations

import io
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from forked import SECONDS
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from gantrain.errors import UserError
from gantrain.plotting.images import load_png
from gantrain.runs.about import About
from gantrain.runs.monitor import WALL_CLOCK, Monitor, read_metrics
from gantrain.runs.tags import tag

# How much of its files TensorBoard's reader keeps.
EVERYTHING = dict.fromkeys(("scalars", "images", "tensors", "histograms"), 0)
CONFIG = {"run": {"name": "digits", "steps": 4}, "game": {"optimizer": {"lr": 1e-3, "betas": [0.0, 0.9]}}}


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


def strict(line: str) -> dict:
    def refuse(constant):
        raise AssertionError(f"{constant} in strict JSON")

    return json.loads(line, parse_constant=refuse)


def test_scalars_are_the_same_in_both_files(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    values = {
        "loss/generator": torch.tensor(0.1),
        "loss/discriminator": np.float32(0.1),
        "fid": np.float64(0.1),
        "kimg": 0.1,
        "gradients/generator": 10**7,
        "outer_steps": np.int64(3),
        "norm": torch.tensor([[2.5]], requires_grad=True),
    }
    monitor.scalars(5, values)
    monitor.scalars(10, {name: value + 1 for name, value in values.items()})
    monitor.close()
    single = float(np.float32(0.1))
    first, second = read_metrics(tmp_path)
    assert first.pop("time") <= second.pop("time")
    assert first == {
        "step": 5,
        "loss/generator": single,
        "loss/discriminator": single,
        "fid": 0.1,
        "kimg": 0.1,
        "gradients/generator": 10**7,
        "outer_steps": 3,
        "norm": 2.5,
    }
    written = events(tmp_path)
    assert sorted(written.Tags()["scalars"]) == sorted(map(tag, [*values, "time"]))
    for name in values:
        assert [(e.step, e.value) for e in written.Scalars(tag(name))] == [
            (5, np.float32(first[name])),
            (10, np.float32(second[name])),
        ]
    assert monitor.last == {name: value for name, value in second.items() if name != "step"}


def test_numbers_survive_to_the_last_bit(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    numbers = torch.randn(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).tolist()
    for step, number in enumerate(numbers):
        monitor.scalars(step, {"loss/x": number})
    monitor.close()
    assert [row["loss/x"] for row in read_metrics(tmp_path)] == numbers


@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True)])
def test_true_is_a_number_of_a_row_that_can_be_read_again(tmp_path, value):
    with Monitor(tmp_path, CONFIG) as monitor:
        monitor.scalars(1, {"converged": value})
    assert read_metrics(tmp_path)[0]["converged"] == 1
    with Monitor(tmp_path, CONFIG, step=1) as monitor:
        assert monitor.last == {"converged": 1}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("x", "'x' (str)"),
        (None, "None"),
        ([1.0], "a list of 1"),
        (torch.ones(2), "a tensor of shape (2,), float32, on cpu"),
        (torch.tensor(1j), "a tensor of shape (), complex64, on cpu"),
    ],
)
def test_what_is_no_number_is_named(tmp_path, value, found):
    with Monitor(tmp_path, CONFIG) as monitor:
        with pytest.raises(UserError, match=f"^scalars: 'a': expected .*, got {re.escape(found)}$"):
            monitor.scalars(1, {"b": 0.5, "a": value})
        monitor.scalars(1, {"b": 0.5})
    assert [row["b"] for row in read_metrics(tmp_path)] == [0.5]


@pytest.mark.parametrize("name", ["step", "time"])
def test_a_value_takes_no_column_of_every_row(tmp_path, name):
    with Monitor(tmp_path, CONFIG) as monitor:
        with pytest.raises(UserError, match=f"^scalars: '{name}' is a column of every row of metrics.jsonl; give the"):
            monitor.scalars(1, {"fid": 1.0, name: -0.5})
        monitor.scalars(1, {"fid": 1.0})
    assert [row["fid"] for row in read_metrics(tmp_path)] == [1.0]


def test_rows_can_be_read_while_the_run_goes_on(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.scalars(1, {"loss/x": 2.0})
    assert read_metrics(tmp_path)[0]["loss/x"] == 2.0
    assert events(tmp_path).Scalars("loss/x")[0].value == 2.0
    monitor.close()


def test_values_that_are_not_finite_are_null(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.scalars(1, {"a": math.nan, "b": torch.tensor(math.inf), "c": np.float32(-math.inf), "d": 1.0})
    monitor.close()
    row = strict((tmp_path / "metrics.jsonl").read_text())
    assert (row["a"], row["b"], row["c"], row["d"]) == (None, None, None, 1.0)
    assert math.isnan(read_metrics(tmp_path)[0]["b"])
    assert events(tmp_path).Scalars("quality/b")[0].value == math.inf


def test_a_disabled_monitor_writes_nothing(tmp_path):
    monitor = Monitor(tmp_path / "absent", CONFIG, enabled=False)
    monitor.scalars(1, {"loss/x": 1.0})
    monitor.image("samples", 1, torch.zeros(3, 4, 4, dtype=torch.uint8))
    monitor.figure("plot", 1, Figure())
    monitor.text("note", "text")
    monitor.histogram("scores", 1, [1.0])
    monitor.finish()
    assert monitor.last is None
    assert list(tmp_path.iterdir()) == []


def test_pictures_texts_and_charts(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    image = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    monitor.image("samples", 3, image)
    figure = Figure(figsize=(2, 1), dpi=50)
    monitor.figure("path", 4, figure)
    monitor.scalars(5, {"loss/generator": 1.0, "loss/discriminator": 1.0, "score/real": 0.1, "lr/generator": 0.1})
    monitor.close()
    written = events(tmp_path)
    (sample,) = written.Images("samples")
    assert (sample.step, sample.width, sample.height) == (3, 4, 4)
    assert torch.equal(load_png(io.BytesIO(sample.encoded_image_string)), image)
    (plot,) = written.Images("path")
    assert (plot.step, plot.width, plot.height) == (4, 100, 50)
    text = written.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert yaml.safe_load(text.partition("```yaml")[2].removesuffix("```")) == CONFIG
    layout = layout_pb2.Layout.FromString(written.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    charts = {category.title: [chart.multiline.tag[0] for chart in category.chart] for category in layout.category}
    tags = written.Tags()["scalars"]
    shown = {title: [t for regex in regexes for t in tags if re.match(regex, t)] for title, regexes in charts.items()}
    assert shown == {"losses": ["loss/generator", "loss/discriminator"], "scores": ["score/real"]}


def test_the_charts_grow_with_the_scalars_of_the_run(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.scalars(1, {"loss/x": 1.0})
    monitor.scalars(2, {"loss/x": 1.0, "cost": 1.0})
    monitor.scalars(2, {"precision[a.b]": 1.0, "game/distance": 2.0, "advice/spread": 1.0})
    monitor.close()
    Monitor(tmp_path, CONFIG, step=2).close()
    written = events(tmp_path).Tensors("custom_scalars__config__")
    layouts = [layout_pb2.Layout.FromString(each.tensor_proto.string_val[0]) for each in written]
    titles = [{each.title: [chart.title for chart in each.chart] for each in layout.category} for layout in layouts]
    assert titles[0] == {"losses": ["loss/x"]}
    assert titles[-1] == titles[-2]
    assert titles[-1] == {
        "quality": ["quality/cost", "quality/precision[a.b]", "game/distance"],
        "losses": ["loss/x"],
        "health": ["health/advice/spread"],
    }
    (regex,) = layouts[-1].category[0].chart[1].multiline.tag
    assert re.match(regex, "quality/precision[a.b]") and not re.match(regex, "quality/precision[acb]")


def test_a_histogram_counts_all_finite_values(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.histogram("score/distribution/real", 3, [0.0, 1.0, 1.0, 4.0, math.nan, math.inf])
    monitor.histogram("score/distribution/real", 6, [2.0, 2.0])
    monitor.histogram("score/distribution/real", 9, [math.nan])
    monitor.close()
    first, second = events(tmp_path).Histograms("score/distribution/real")
    value = first.histogram_value
    assert (first.step, value.min, value.max, value.num, value.sum) == (3, 0.0, 4.0, 4, 6.0)
    assert sum(value.bucket) == 4 and value.bucket_limit[-1] == 4.0
    assert (second.step, sum(second.histogram_value.bucket)) == (6, 2)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 1.0 + 2.0**-52],
        [1e17, 1e17],
        [-1e290, 1e290],
        [1.7e308, 1.7e308],
        [0.0, 5e-324],
        [1e16, 1e16 + 2, 1e16 + 4],
    ],
    ids=["close", "large", "far", "largest", "smallest", "large-and-close"],
)
def test_a_histogram_of_numbers_of_any_size_is_written(tmp_path, values):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.histogram("score/distribution/real", 3, values)
    monitor.close()
    (found,) = events(tmp_path).Histograms("score/distribution/real")
    limits = found.histogram_value.bucket_limit
    assert sum(found.histogram_value.bucket) == len(values) and max(values) <= limits[-1]
    assert limits == sorted(set(limits))


def test_the_table_of_hyper_parameters_has_the_run_from_its_first_step(tmp_path):
    about = About({"outer": "gda", "game.generator.optimizer.lr": 1e-3, "run.seed": 0})
    monitor = Monitor(tmp_path, CONFIG, about=about, metrics=["fid", "time"])
    assert sorted(re.sub(r"\.tfevents.*", "", p.name) for p in tmp_path.iterdir()) == ["events.out", "metrics.jsonl"]
    start = table(tmp_path, "session_start_info").hparams
    assert (start["outer"].string_value, start["game.generator.optimizer.lr"].number_value) == ("gda", 1e-3)
    experiment = table(tmp_path, "experiment")
    assert [metric.name.tag for metric in experiment.metric_infos] == ["quality/fid", "cost/time"]
    assert [metric.display_name for metric in experiment.metric_infos] == ["fid", "time"]
    assert {column.name for column in experiment.hparam_infos} == set(start)
    assert "_hparams_/session_end_info" not in events(tmp_path).summary_metadata
    monitor.finish()
    assert table(tmp_path, "session_end_info").status == api_pb2.STATUS_SUCCESS


def table(folder: Path, part: str):
    content = events(folder).SummaryMetadata(f"_hparams_/{part}").plugin_data.content
    return getattr(plugin_data_pb2.HParamsPluginData.FromString(content), part)


def write(folder: Path, first: int, last: int, resume_at: int = 0) -> None:
    monitor = Monitor(folder, CONFIG, step=resume_at)
    for step in range(first, last):
        monitor.scalars(step, {"loss/x": step * 0.1, "images_per_second": 1e3 + os.getpid() + first})
        monitor.image("samples", step, torch.full((1, 2, 2), step, dtype=torch.uint8))
    monitor.close()


def test_a_resumed_run_writes_what_an_unbroken_one_writes(tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    write(straight, 1, 11)
    write(broken, 1, 8)  # the checkpoint is of step 5
    with (broken / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 8, "ti')
    write(broken, 6, 11, resume_at=5)

    def comparable(folder):
        return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in read_metrics(folder)]

    assert comparable(broken) == comparable(straight)
    assert [row["step"] for row in read_metrics(broken)] == list(range(1, 11))
    a, b = events(straight), events(broken)
    assert [(e.step, e.value) for e in a.Scalars("loss/x")] == [(e.step, e.value) for e in b.Scalars("loss/x")]
    assert [e.step for e in b.Images("samples")] == list(range(1, 11))
    times = [row["time"] for row in read_metrics(broken)]
    assert times == sorted(times)
    assert not list(broken.glob("*.tmp"))


def test_a_step_of_which_only_some_rows_stay_is_written_once_in_both_files(tmp_path):
    monitor = Monitor(tmp_path, CONFIG)
    for values in ({"loss/x": 1.0}, {"fid": 2.0}):
        monitor.scalars(4, values)
    assert monitor.rows == 2
    monitor.close()
    monitor = Monitor(tmp_path, CONFIG, step=4, rows=1)
    assert monitor.rows == 1
    monitor.scalars(4, {"fid": 3.0})
    monitor.close()
    assert [row.get("loss/x", row.get("fid")) for row in read_metrics(tmp_path)] == [1.0, 3.0]
    found = events(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss/x")] == [(4, 1.0)]
    assert [(e.step, e.value) for e in found.Scalars("quality/fid")] == [(4, 3.0)]


def test_time_goes_on_where_the_kept_rows_end(tmp_path, monkeypatch):
    clock = iter((1000.0, 1007.25))
    monkeypatch.setattr("gantrain.runs.monitor.time", SimpleNamespace(monotonic=lambda: next(clock)))
    rows = [{"step": 1, "time": 50.0, "fid": 3.0}, {"step": 2, "time": 100.5, "x": None}, {"step": 3, "time": 500.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monitor = Monitor(tmp_path, CONFIG, step=2)
    assert monitor.last.keys() == {"fid", "x"} and monitor.last["fid"] == 3.0
    monitor.scalars(3, {"x": 1.0})
    monitor.close()
    monitor.close()
    times = [row["time"] for row in read_metrics(tmp_path)]
    assert times == [50.0, 100.5, 107.75]


def test_files_that_hold_something_else_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time": 0}\nnonsense\n{"step": 2, "time": 0}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not valid JSON"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:1: not a row"):
        Monitor(tmp_path, CONFIG, step=1)


@pytest.mark.parametrize(("make", "said"), [(os.mkfifo, "is a FIFO"), (os.mkdir, "is a folder")])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, make, said):
    make(tmp_path / "metrics.jsonl")
    for read in (read_metrics, lambda folder: Monitor(folder, CONFIG, step=4)):
        with pytest.raises(UserError, match=rf"metrics\.jsonl: cannot be read: {said}, expected a file"):
            read(tmp_path)


LOG_FOR_EVER = """
import sys
from pathlib import Path
from gantrain.runs.monitor import Monitor
monitor = Monitor(Path(sys.argv[1]), {})
step = 0
while True:
    step += 1
    monitor.scalars(step, {f"loss/{i}": step + i / 7 for i in range(20)})
    print(step, flush=True)
"""


def test_a_killed_process_loses_no_finished_row(tmp_path):
    command = [sys.executable, "-c", LOG_FOR_EVER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(50):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    said = [int(line) for line in process.communicate(timeout=SECONDS)[0].split()]
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= max(said, default=50)
    assert all(row["loss/6"] == row["step"] + 6 / 7 for row in rows)
    assert len(events(tmp_path).Scalars("loss/0")) >= 49


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"step": "4"}, "'step': expected a count of steps, found \"4\""),
        ({"step": 4.5}, "'step': expected a count of steps, found 4.5"),
        ({"step": -1}, "'step': expected a count"),
        ({"step": None}, "'step': expected a count"),
        ({"step": True}, "'step': expected a count"),
        ({"step": 10**30}, "'step': expected a count"),
        ({"time": "now"}, "'time': expected a number, found \"now\""),
        ({"time": None}, "'time': expected a number, found null"),
        ({"time": -1}, "'time': expected a number"),
        ({"fid": [1]}, r"'fid': expected a number or null, found \[1\]"),
        ({"fid": "3"}, "'fid': expected a number or null"),
        ({"fid": {}}, "'fid': expected a number or null"),
        ({"fid": False}, "'fid': expected a number or null"),
        ({"fid": 10**400}, "'fid': expected a number or null"),
        ({"fid": math.inf}, "'fid': expected a number or null"),
    ],
)
def test_a_row_with_a_value_of_the_wrong_type_is_named(tmp_path, row, said):
    rows = [{"step": 2, "time": 1.0, "fid": 3.0}, {"step": 4, "time": 2.0, "fid": 3.0} | row]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    for read in (read_metrics, lambda folder: Monitor(folder, CONFIG, step=4)):
        with pytest.raises(UserError, match=rf"metrics\.jsonl:2: {said}") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.out"])
def test_a_disk_that_fills_up_is_said_when_it_happens_and_leaves_whole_rows(tmp_path, file, capfd):
    monitor = Monitor(tmp_path, CONFIG)
    monitor.scalars(1, {"loss/x": 1.0})
    sizes = {path.name.split(".tf")[0]: path.stat().st_size for path in tmp_path.iterdir()}
    child = os.fork()
    if not child:
        code = 1
        try:
            # A row of metrics is longer than an event by this name, and shorter than one by the other.
            name = "long/" + "x" * 400 if file == "metrics.jsonl" else "x"
            limit = max(sizes.values()) + 100 if file == "metrics.jsonl" else sizes["events.out"] + 10
            if file == "metrics.jsonl":
                (tmp_path / file).open("a").write(" " * (limit - sizes[file] - 100) + "\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            monitor.scalars(2, {name: 1.0})
        except UserError as error:
            code = 0 if re.search(rf"/{file}\S*: cannot be written: File too large; [0-9]+ of its ", str(error)) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert capfd.readouterr() == ("", "")
    assert all(line.endswith("\n") for line in (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True))
    assert [event.step for event in events(tmp_path).Scalars("loss/x")] == [1]
    monitor.close()
