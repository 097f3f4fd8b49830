"""Reports: what they say of runs of all kinds, what a browser shows of them, and that received runs cannot speak."""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import browser, console_errors, needs_browser, requests, scrolls_sideways
from click.testing import CliRunner
from markupsafe import Markup
from PIL import Image
from tiny import DIGITS, RING, config_of

from gantrain.cli import cli
from gantrain.commands.report import plot
from gantrain.commands.report.curves import POINTS, families
from gantrain.commands.report.facts import facts
from gantrain.commands.report.reading import read_runs
from gantrain.commands.report.report import report_runs
from gantrain.commands.report.words import words
from gantrain.commands.train import train
from gantrain.config.loading import resolved, validate
from gantrain.config.schema import Config
from gantrain.config.shortened import without_defaults
from gantrain.errors import UserError
from gantrain.runs.divergence import Divergence, record_divergence
from gantrain.runs.folder import BUILT_IN_PYTHON, CONFIG, config_text, prepare_folder
from gantrain.runs.trust import state_folder

FID = "frechet_distance[x]"
EVIL = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text without style and script."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._silent = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        return [str(attributes["id"]) for attributes in self.all("h2")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A GAN with five grids of samples."""
    folder = tmp_path_factory.mktemp("trained")
    return train(
        config_of(
            DIGITS,
            folder,
            *("run.steps=10", "game.conditional=true", "log.every=2", "samples={every: 2, count: 16}"),
            *("evaluate={metrics: [prc], features: digits-classifier, samples: 64, every: 5}", "advice={every: 5}"),
        )
    )


@pytest.fixture
def run(tmp_path):
    """Writes a run that has evaluated as given, step -> value, without training it."""

    def write(name, fid, *overrides, advice=None, base=RING):
        config = config_of(base, tmp_path, f"run.name={json.dumps(name)}", *overrides)
        prepare_folder(tmp_path / name, resolved(config), resume=False, overwrite=False)
        lines = []
        for step, value in fid.items():
            counts = {"gradients/generator": step, "gradients/discriminator": 2 * step, "kimg": step / 10}
            losses = {"loss/generator": 1.0 + step, "loss/discriminator": 2.0, "images_per_second": 50.0}
            lines.append({"step": step, "time": 0.5 * step, **losses, **counts})
            lines.append({"step": step, "time": 0.5 * step, FID: value})
            if advice is not None:
                lines.append({"step": step, "time": 0.5 * step, **advice})
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / name

    return write


def texts(folder: Path) -> str:
    (reported,) = read_runs([folder]).runs
    return " ".join(remark.text for remark in words(reported, "step"))


def test_a_report_of_one_run_shows_all_of_it_in_one_file(trained):
    path = report_runs([trained], device="cpu")
    page = Page(path)
    assert path == trained / "report.html" and path.stat().st_size < 1_000_000
    assert page.sections == ["trained", "went", "samples", "quality", "curves", "paths", "near", "config", "cost", "on"]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in page.sections]
    images = page.all("img")
    assert all(str(image["src"]).startswith("data:image/webp;base64,") and image["alt"] for image in images)
    # Five grids, of which the last is shown; real samples; the history; paths; neighbours by pixels and by features.
    assert [image.get("data-label") for image in images] == [*(f"step {n}" for n in (2, 4, 6, 8, 10)), *[None] * 5]
    assert ["hidden" in image for image in images] == [True] * 4 + [False] * 6
    assert "digits, 1797 samples, of the shape 1 × 8 × 8, 10 classes, batches of 32" in page.text
    assert "nearest by the features of digits-classifier" in page.text
    for name in ("precision[digits-classifier], higher is better", "loss/generator", "score/real"):
        assert name in page.text
    assert "It has used up its budget: step 10 of 10." in page.text and "seed 0" in page.text
    # Again, over the earlier one.
    assert report_runs([trained], device="cpu") == path


def test_the_config_without_its_defaults_is_the_config(trained, run):
    for folder in (trained, run("other", {1: 1.0}, "outer={name: lookahead, base: {name: rapp}}")):
        whole = yaml.safe_load((folder / CONFIG).read_text())
        short = without_defaults(whole, "here")
        assert resolved(validate(Config, short, "here")) == whole
        assert "critic_steps" not in json.dumps(short) and short["run"]["steps"] == whole["run"]["steps"]
        assert list(short) == [key for key in whole if key in short]


def test_a_config_with_own_code_is_shown_without_its_defaults_if_it_was_trained_here(run, tmp_path):
    loss = "game.loss={target: 'examples.loss:Smoothed', smoothing: 0.2}"
    own = run("own", {1: 1.0}, loss)
    for folder, short in ((own, True), (shutil.copytree(own, tmp_path / "received"), False)):
        (reported,) = read_runs([folder]).runs
        assert reported.short["game"]["loss"] == {"target": "examples.loss:Smoothed", "smoothing": 0.2}
        assert ("critic_steps" not in json.dumps(reported.short)) == short


def test_runs_that_differ_in_the_seed_are_one_group_with_intervals(run, tmp_path):
    for seed in (0, 1):
        run(f"gda,seed={seed}", {10: 8.0, 20: 2.0 + 2 * seed}, f"run.seed={seed}")
        run(f"rapp,seed={seed}", {10: 9.0, 20: 1.0 + 2 * seed}, f"run.seed={seed}", "outer=rapp")
    page = Page(report_runs([tmp_path], device="cpu"))
    assert (tmp_path / "report.html").exists() and "4 runs in 2 groups" in page.text
    # The mean 3 with the standard error 1 and one degree of freedom.
    assert "gda 2 3 -9.706 to 15.71 3 ± 1" in page.text
    assert f"{FID}: each group minus gda (negative is better)" in page.text and "rapp -1 -1 to -1" in page.text
    assert "outer. name" in page.text and "Over gradient evaluations" in page.text
    assert "There are no pictures from a checkpoint" in page.text and "samples" not in page.sections


def test_one_group_has_a_row_for_each_value_with_bands_over_its_seeds(run, tmp_path):
    for seed, end in enumerate((2.0, 4.0, 1e300)):
        run(f"gda,seed={seed}", {10: 8.0, 20: end}, f"run.seed={seed}")
    page = Page(report_runs([tmp_path], device="cpu"))
    # The third run has logged a number beyond any use, and keeps the value that it had before.
    assert "gda, 3 seeds at the end 95 % interval best better" in page.text
    assert f"{FID} 4.667 -2.922 to 12.26 4.667 ± 1.8 lower" in page.text
    assert "bands are one standard error" in page.text and "fill-opacity" in page.source and "legend" not in page.text


def test_groups_that_measured_nothing_in_common_are_compared_apart(run, tmp_path):
    runs = [run("a", {10: 8.0}), run("b", {10: 9.0}, "outer=rapp")]
    for name, outer in (("c", "optimistic"), ("d", "extragradient")):
        runs.append(run(name, {10: 0.5}, f"outer={outer}"))
        log = runs[-1] / "metrics.jsonl"
        log.write_text(log.read_text().replace(FID, "game/gap"))
        (runs[-1] / "better.json").write_text(json.dumps({"game/gap": "lower"}))
    page = Page(report_runs(runs, tmp_path / "apart.html", device="cpu"))
    assert "b minus" not in page.text and f"{FID}: each group minus a" in page.text
    assert "game/gap: each group minus c" in page.text and "Not all groups are compared with each other" in page.text


def test_a_run_that_was_built_in_python_is_described(run, tmp_path):
    folder = run("built", {10: 8.0, 20: 2.0})
    shutil.rmtree(folder / "samples", ignore_errors=True)
    described = {
        "run": {"name": "built", "seed": 3, "steps": 20},
        "data": {"batch_size": 8, "accumulation": 1},
        "game": {"target": "mine:Game", "solver": {"optimizer": {"target": "torch.optim.adam:Adam", "lr": 0.1}}},
        "outer": {"target": "gantrain.outer.gda:GDA", "order": "alternating"},
    }
    (folder / CONFIG).write_text(config_text(described, BUILT_IN_PYTHON))
    page = Page(report_runs([folder], device="cpu"))
    assert "solver optimizer torch.optim.adam:Adam (lr 0.1)" in page.text and "batches of 8" in page.text
    assert "What the trainer was given in Python." in page.text and "seed 3" in page.text and FID in page.text


def test_what_a_run_lacks_is_said_in_one_line(run, tmp_path):
    prepare_folder(tmp_path / "new", resolved(config_of(RING, tmp_path, "run.name=new")), False, False)
    prepare_folder(tmp_path / "lost", resolved(config_of(RING, tmp_path, "run.name=lost", "run.seed=1")), False, False)
    record_divergence(tmp_path / "lost", Divergence(7, "loss/generator is nan"))
    (run("torn", {1: 2.0}, "run.seed=5") / "metrics.jsonl").write_text("no row\n")
    (run("silent", {1: 2.0}, "run.seed=7") / "metrics.jsonl").write_text("")
    damaged = run("damaged", {1: 1.0}, "run.seed=6")
    (damaged / CONFIG).write_text(f"{(damaged / CONFIG).read_text()}\nwrong: key\n")
    page = Page(
        report_runs([tmp_path / name for name in ("new", "lost", "torn", "damaged", "silent")], tmp_path / "all.html")
    )
    assert "It has no checkpoint yet" in page.text and "It has no log, so that there are no curves" in page.text
    assert "leave the run out" not in page.text and str(tmp_path) not in re.sub(
        "gantrain [a-z]+ .*|tensorboard .*", "", page.text
    )
    assert "The training diverged at step 7: loss/generator is nan." in page.text
    assert "metrics.jsonl:1: not valid JSON" in page.text
    assert re.search(r"Left out: .*damaged/config.yaml: wrong: unknown key", page.text)
    assert "Nothing was logged that says how good the runs are." in page.text


def test_a_run_that_diverged_shows_its_curves_up_to_there(run):
    folder = run("lost", {10: 8.0, 20: 9.0})
    record_divergence(folder, Divergence(25, "loss/generator is nan"))
    page = Page(report_runs([folder], device="cpu"))
    assert "diverged at step 25" in page.text and page.all("svg") and FID in page.text


def test_no_text_of_a_run_becomes_a_part_of_the_page(run, trained, tmp_path):
    folder = run(EVIL, {10: 1.0, 20: 2.0})
    with (folder / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": 20, "time": 1.0, f"loss/</title><script>alert('{EVIL}')</script>": 1.0}) + "\n")
    record_divergence(folder, Divergence(25, f"</p><script>alert(2)</script>{EVIL}"))
    (folder / "diagnosis" / "step_20").mkdir(parents=True)
    (folder / "diagnosis" / "step_20" / "report.json").write_text(json.dumps({"plain": [f"</li>{EVIL}"]}))
    (folder / "samples").mkdir()
    (folder / "samples" / "step_000010.png").write_text("<script>alert(3)</script>")
    page = Page(report_runs([folder], tmp_path / "evil.html", device="cpu"))
    assert page.text.count(EVIL) >= 4 and "alert(2)" in page.text
    assert len(page.all("script")) == 1 and not page.all("img")
    assert not any(name.startswith("on") or name == "style" for _, found in page.elements for name in found)
    assert EVIL not in page.source and html.escape(EVIL) in page.source


def test_code_that_a_received_run_names_is_not_imported(trained, tmp_path, monkeypatch):
    folder = tmp_path / "received"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("report.html"))
    content = (
        (folder / CONFIG).read_text().replace("  loss:\n    name: non_saturating", "  loss:\n    target: evil:Loss")
    )
    (folder / CONFIG).write_text(content)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    page = Page(report_runs([folder], device="cpu"))
    assert "evil" not in sys.modules and not list(state_folder().glob("trained/*received*"))
    assert "game.loss.target: 'evil:Loss'" in page.text and "add --trust" in page.text
    assert len(page.all("img")) == 7 and page.all("svg") and "paths" not in page.sections


def in_files(trained: Path, folder: Path, data: Path) -> Path:
    """A copy of the run, which says that its data lie in a folder."""
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("report.html"))
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["data"] = {"name": "image_folder", "path": str(data), "size": 8, "batch_size": 32}
    prepared = (folder / CONFIG).read_text().splitlines()[0]
    (folder / CONFIG).write_text(f"{prepared}\n{yaml.safe_dump(config)}")
    return folder


def images(folder: Path) -> None:
    """Writes a folder of ten grey images."""
    folder.mkdir()
    for i in range(10):
        Image.new("L", (8, 8), 20 * i).save(folder / f"{i}.png")


def test_without_the_data_only_the_neighbours_are_missing(trained, tmp_path):
    folder = in_files(trained, tmp_path / "moved", tmp_path / "gone")
    page = Page(report_runs([folder], device="cpu"))
    assert re.search(r"The nearest training samples were not looked for: .*gone.* say with --data PATH", page.text)
    assert "near" not in page.sections and "paths" in page.sections and page.text.count("not looked for") == 1


def test_an_option_that_fits_no_run_is_an_error_and_the_earlier_report_stays(trained, run, tmp_path):
    game = {"name": "matrix", **dict.fromkeys(("row", "column"), {"optimizer": {"name": "sgd", "lr": 0.1}})}
    config = {"run": {"name": "matrix", "steps": 1}, "game": game | {"payoff": [[1, -1], [-1, 1]]}}
    dataless = run("matrix", {}, base=config)
    row = {"step": 1, "time": 0.5, "outer_steps": 1, "loss/row": 1.0, "gradients/row": 1, "gradients/column": 1}
    (dataless / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    received = in_files(trained, tmp_path / "received", tmp_path / "gone")
    images(tmp_path / "others")
    for folder, options, message in (
        (dataless, {"at": "kimg"}, "matrix: a run without data sees no samples; choose --at gradients or --at step"),
        (dataless, {"data": str(tmp_path)}, "--data: .* no file and no folder that could have moved; leave it out"),
        (received, {"data": str(tmp_path / "nope")}, "--data: there is nothing at nope in .*; say where"),
        (received, {"data": str(tmp_path / "others")}, "--data: .*, compared with the data on which the run"),
    ):
        earlier = report_runs([folder], device="cpu").read_text()
        with pytest.raises(UserError, match=message):
            report_runs([folder], device="cpu", **options)
        assert (folder / "report.html").read_text() == earlier
    with pytest.raises(UserError, match="matrix: a run without data"):
        report_runs([dataless, received], str(tmp_path / "both.html"), at="kimg", device="cpu")
    assert not (tmp_path / "both.html").exists()


def test_moved_data_are_those_of_the_runs_that_they_fit(trained, tmp_path):
    images(tmp_path / "here")
    config = ("data={name: image_folder, size: 8, channels: 1, batch_size: 8}", f"data.path={tmp_path / 'here'}")
    moved = train(config_of(DIGITS, tmp_path / "runs", *config, "run.name=moved", "run.steps=1"))
    (tmp_path / "here").rename(tmp_path / "there")
    page = Page(report_runs([moved, trained], str(tmp_path / "a.html"), device="cpu", data=str(tmp_path / "there")))
    assert "not looked for" not in page.text and "no pictures from a checkpoint" not in page.text
    page = Page(report_runs([moved, trained], str(tmp_path / "a.html"), device="cpu"))
    assert page.text.count("not looked for") == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({1: 9.0, 2: 4.0}, r"was best at the end, at 4\. It was still getting better"),
        ({1: 4.1, 2: 4.0}, r"was best at the end, at 4\.$"),
        ({1: 4.0, 2: 4.1}, r"best at 1 training steps, at 4, and ended about as good: 4\.1\."),
        ({1: 4.0, 2: 9.0}, r"best at 1 training steps, at 4, and has become worse: 9\."),
    ],
    ids=["rising", "flat", "as good", "worse"],
)
def test_words_about_the_quality(run, values, said):
    assert re.search(said, texts(run("one", values)).partition("No sign")[0].strip())


def test_words_about_signs_of_trouble(run):
    flags = {f"advice/{name}": 0.0 for name in ("collapse", "memorisation", "certainty")}
    assert "No sign of collapse, of memorisation" in texts(run("well", {1: 1.0}, advice=flags))
    there = texts(run("ill", {1: 1.0}, advice=flags | {"advice/collapse": 1.0, "advice/spread": 0.4}))
    assert "A sign of trouble at the end, collapse: samples are only 0.40 times as far apart" in there
    assert "No sign" not in texts(run("unasked", {1: 1.0}))


def test_what_was_trained_is_said_in_the_words_of_the_config(run):
    (reported,) = read_runs([run("one", {1: 1.0}, "game.generator.sharpness={name: sam, rho: 0.1}")]).runs
    found = facts(reported)
    assert found["generator"] == (
        "mlp (width 16, latent_dim 4); optimizer adam (lr 0.001, betas 0, 0.9); sharpness sam (rho 0.1)"
    )
    assert found["game"] == "gan (loss non_saturating)" and found["outer loop"] == "gda"


def test_a_long_log_is_drawn_by_means_of_successive_values(run):
    folder = run("long", {step: 100.0 + step for step in range(1, 2 * POINTS + 1)})
    reading = read_runs([folder])
    quality = families(reading)[0]
    assert quality.title == "Quality" and [panel.name for panel in quality.panels] == [FID]
    path = re.findall(r'class="line"[^>]* d="M([^"]+)"', quality.panels[0].picture)[0]
    assert path.count("L") == POINTS - 1


def test_a_picture_of_curves_has_an_axis_that_fits():
    def drawn(*values: float, error: float = float("nan")) -> Markup:
        return plot.svg([plot.Line("a<b", 9, range(len(values)), values, [error] * len(values))], "steps", "a & b")

    def ticks(picture: Markup) -> list[str]:
        return re.findall(r'class="y"[^>]*>([^<]+)<', picture)

    assert {"1", "10", "100", "1000"} <= {*ticks(drawn(1.0, 1000.0))} and "200" not in ticks(drawn(1.0, 10000.0))
    assert ticks(drawn(0.0, 1.0)) == ["0", "0.25", "0.5", "0.75", "1"]
    assert ticks(drawn(3.0, 3.0)) and "fill-opacity" in drawn(1.0, 2.0, error=0.5)
    assert "a&lt;b" in drawn(1.0, np.nan) and "a &amp; b" in drawn(1.0) and "stroke-dasharray" in drawn(1.0, 2.0)
    assert not plot.is_drawable([np.nan, np.inf, 1e305])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no run here"),
        (["EDITED"], "config.yaml: is not what gantrain wrote"),
        (["RUN", "--output", "FOLDER"], "is a folder; name a file with --output"),
        (["RUN", "--output", "notes.html"], "notes.html: exists and is no report of gantrain; choose another --output"),
        (["RUN", "COPY"], "have the same seed, 0, and train the same by their configs; leave one out"),
        (["RUN", "--at", "hours"], "Invalid value for '--at'"),
    ],
    ids=["no run", "edited", "folder", "other file", "twice", "at"],
)
def test_what_cannot_be_reported_is_one_line(run, tmp_path, monkeypatch, arguments, message):
    one, two = run("one", {1: 1.0}), tmp_path / "two"
    shutil.copytree(one, two)
    shutil.copytree(one, tmp_path / "edited")
    (tmp_path / "edited" / "config.yaml").write_text("run: [\n")
    (tmp_path / "edited" / "step_3").mkdir()
    for file in ("manifest.json", "state.json"):
        (tmp_path / "edited" / "step_3" / file).touch()
    (tmp_path / "notes.html").write_text("mine")
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(one), "COPY": str(two), "EDITED": str(tmp_path / "edited"), "FOLDER": str(tmp_path)}
    result = CliRunner().invoke(cli, ["report", *(places.get(a, a) for a in arguments)], standalone_mode=False)
    error = result.exception
    assert error is not None and message in (str(error) if isinstance(error, UserError) else error.format_message())
    assert (tmp_path / "notes.html").read_text() == "mine" and not list(tmp_path.rglob("report.html"))


def test_several_runs_are_reported_in_the_current_folder(run, tmp_path, monkeypatch):
    one, two = run("one", {1: 1.0}), run("two", {1: 2.0}, "outer=rapp")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(cli, ["report", str(one), str(two), "--at", "kimg"], standalone_mode=False)
    assert result.output == "report.html\n" and "Over thousand samples." in Page(Path("report.html")).text


@pytest.fixture(scope="module")
def phone():
    with browser(390, 844) as driver:
        yield driver


@needs_browser
def test_the_page_in_a_browser_as_wide_as_a_phone(trained, phone):
    path = report_runs([trained], device="cpu")
    phone.get(path.as_uri())
    assert not console_errors(phone)
    assert {url for url in requests(phone) if not url.startswith("data:")} == {path.as_uri()}
    assert not scrolls_sideways(phone)
    loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert phone.execute_script(loaded)
    shown = "return [...document.querySelectorAll('.stage img')].findIndex(image => image.offsetHeight > 0)"
    assert phone.execute_script(shown) == 4
    slide = "const s = document.querySelector('input'); s.value = 1; s.dispatchEvent(new Event('input'));"
    phone.execute_script(slide)
    assert phone.execute_script(shown) == 1
    assert phone.execute_script("return document.querySelector('output').textContent") == "step 4"
    phone.execute_script("document.querySelector('button').click()")
    seen, end = set(), time.monotonic() + 60
    while 4 not in seen and time.monotonic() < end:
        seen.add(phone.execute_script(shown))
    assert {2, 4} <= seen
