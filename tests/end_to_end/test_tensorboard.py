"""What a person finds in TensorBoard: a real server on real runs, and its pages in a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, console_errors, needs_browser
from forked import until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tiny import DIGITS, config_of

from gantrain.commands.train import train
from gantrain.config.loading import load
from gantrain.config.schema import Config
from gantrain.runs.about import Source
from gantrain.runs.better import read_better
from gantrain.runs.tags import tag
from gantrain.train.callbacks.samples import SampleGrid

# A server, a browser and four runs.
pytestmark = pytest.mark.slow

FEATURES = Path(__file__).parents[2] / "checkpoints/digits-classifier"
EVERY = (
    "log.every=2",
    "samples.every=4",
    "checkpoint.every=4",
    "run.steps=8",
    "advice.every=4",
    "game.conditional=true",
)
BASE = DIGITS | {"game": DIGITS["game"] | {"conditional": True}}
MEASURED = f"evaluate={{every: 4, metrics: [prc, fid], samples: 64, features: {FEATURES}}}"
RUNS = {
    "finished": (),
    "resumed": ("game.generator.model.width=6", "outer={name: rapp, inner_steps: 2}"),
    "interrupted": ("game.discriminator.sharpness={name: sampa, rho: 0.1}", "run.seed=3"),
}
GROUPS = ["cost", "gradient_norm", "health", "loss", "quality", "schedule", "score"]
# The text of a page, whose elements have trees of their own.
TEXT = """
const texts = [];
const walk = node => {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
  if (['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.nodeName)) return;
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return texts.filter(text => text).join('\\n');
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run that finished, one that went on after it had finished, and one that a signal has stopped."""
    folder = tmp_path_factory.mktemp("runs")
    for name, overrides in RUNS.items():
        config = config_of(BASE, folder, *EVERY, MEASURED, f"run.name={name}", *overrides)
        if name == "resumed":
            train(config_of(BASE, folder, *EVERY, MEASURED, f"run.name={name}", *overrides, "run.steps=4"))
            train(config, resume=True, source=source_of(config))
        elif name == "interrupted":
            with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit):
                before = SampleGrid.run

                def stop(self, *arguments, before=before):
                    before(self, *arguments)
                    os.kill(os.getpid(), signal.SIGTERM)

                patched.setattr(SampleGrid, "run", stop)
                train(config, source=source_of(config))
        else:
            train(config, source=source_of(config))
    return folder


def source_of(config: Config) -> Source:
    return Source(f"gantrain train base.yaml run.name={config.run.name}", "base.yaml", BASE, BASE)


@pytest.fixture(scope="module")
def server(runs) -> Iterator[str]:
    """The address of a TensorBoard that has read all runs."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        found = next(filter(None, (re.search(r"http://\S+", line) for line in process.stderr)))
        until(lambda: set(ask(found[0], "data/plugin/timeseries/tags")["scalars"]["runTagInfo"]) == set(RUNS))
        yield found[0]
    finally:
        process.kill()
        process.communicate()


def ask(server: str, path: str, **content: Any) -> Any:
    data = json.dumps(content).encode() if content else None
    request = urllib.request.Request(f"{server}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_tags_are_in_a_few_groups(server):
    tags = ask(server, "data/plugin/timeseries/tags")
    scalars = {tag for of_run in tags["scalars"]["runTagInfo"].values() for tag in of_run}
    assert sorted({tag.partition("/")[0] for tag in scalars}) == GROUPS
    assert {"cost/time", "cost/images_per_second", "quality/frechet_distance[digits-classifier]"} <= scalars
    histograms = tags["histograms"]["runTagInfo"]
    assert histograms == {name: ["score/distribution/fake", "score/distribution/real"] for name in RUNS}


def test_the_table_has_each_run_once_and_all_in_which_they_differ_and_fid_first(server):
    experiment = ask(server, "data/plugin/hparams/experiment", experimentName="", hparamsLimit=1000)
    assert [metric["name"]["tag"] for metric in experiment["metricInfos"]] == [
        "quality/frechet_distance[digits-classifier]",
        "quality/precision[digits-classifier]",
        "quality/recall[digits-classifier]",
        "cost/time",
    ]
    columns = [column["name"] for column in experiment["hparamInfos"]]
    assert set(columns[:4]) <= {"changes", "game.discriminator.optimizer.lr", "game.generator.optimizer.lr", "outer"}
    assert len(columns) < 40
    names = [metric["name"] for metric in experiment["metricInfos"]]
    wanted = [{"metric": name} for name in names] + [{"hparam": name} for name in columns]
    statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    settings = {"allowedStatuses": statuses, "colParams": wanted, "startIndex": 0, "sliceSize": 100}
    groups = ask(server, "data/plugin/hparams/session_groups", experimentName="", **settings)["sessionGroups"]
    rows = {group["name"]: group["hparams"] for group in groups}
    assert sorted(rows) == sorted(RUNS) and all(len(group["sessions"]) == 1 for group in groups)
    assert rows["resumed"]["outer"] == "rapp (inner_steps 2)" and rows["finished"]["outer"] != rows["resumed"]["outer"]
    assert rows["resumed"]["game.generator.model"] == "conv (width 6, latent_dim 4)"
    assert rows["interrupted"]["game.discriminator.sharpness"] == "sampa (rho 0.1)"
    assert rows["interrupted"]["run.seed"] == 3
    states = {group["name"]: group["sessions"][0].get("status", "STATUS_UNKNOWN") for group in groups}
    assert states == {"finished": "STATUS_SUCCESS", "resumed": "STATUS_SUCCESS", "interrupted": "STATUS_UNKNOWN"}
    for group in groups:
        steps = {value["name"]["tag"]: value["trainingStep"] for value in group["metricValues"]}
        assert steps["cost/time"] == (4 if group["name"] == "interrupted" else 8)
        assert ("quality/precision[digits-classifier]" in steps) == (group["name"] != "interrupted")


def test_the_custom_charts_show_one_scalar_each(server):
    layout = ask(server, "data/plugin/custom_scalars/layout")
    charts = {category["title"]: category["chart"] for category in layout["category"]}
    assert list(charts) == ["quality", "losses", "scores", "health"]
    for chart in [chart for each in charts.values() for chart in each]:
        (regex,) = chart["multiline"]["tag"]
        query = urllib.parse.urlencode({"run": "finished", "tag": regex})
        found = ask(server, f"data/plugin/custom_scalars/scalars?{query}")
        assert found["regex_valid"] and list(found["tag_to_events"]) == [chart["title"]]


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (
            "quickstart",
            (MEASURED.replace("64", "300"), "evaluate.weights=[ema, live]", "evaluate.infinity=true"),
        ),
        ("adversarial/digits", ("evaluate.every=2",)),
        ("games/cournot", ("scalars.every=2",)),
    ],
)
def test_the_metrics_of_the_table_are_those_by_which_runs_are_compared(tmp_path, config, settings):
    run = train(load(f"configs/{config}.yaml", ["run.steps=2", f"run.folder={tmp_path}", *settings]))
    content = EventAccumulator(str(run)).Reload().SummaryMetadata("_hparams_/experiment").plugin_data.content
    metrics = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.metric_infos
    assert {metric.name.tag for metric in metrics} == {tag(name) for name in [*read_better(run), "time"]}


@pytest.fixture(scope="module")
def driver():
    with browser(1600, 1000) as chromium:
        yield chromium


def shown(driver, server: str, tab: str, *wanted: str) -> str:
    """The text of a page, once it has what is wanted."""
    driver.get("about:blank")
    driver.get(f"{server}#{tab}")
    until(lambda: all(word in driver.execute_script(TEXT) for word in wanted))
    assert console_errors(driver) == []
    return driver.execute_script(TEXT)


@needs_browser
def test_the_pages_show_it_in_a_browser(driver, server):
    table = shown(driver, server, "hparams", "frechet_distance[digits-classifier]", *RUNS).split("\n")
    places = [table.index(word) for word in ("outer", "frechet_distance[digits-classifier]")]
    assert min(places) >= 0
    page = shown(driver, server, "custom_scalars", "quality", "losses", "scores", "health", "loss/generator")
    assert page.index("quality\n") < page.index("losses\n") < page.index("scores\n") < page.index("health\n")
    shown(driver, server, "images", "samples", "samples/real")
    text = shown(driver, server, "text", "Command", "gantrain train base.yaml run.name=finished", "Config")
    assert "This run has the settings of" in text
