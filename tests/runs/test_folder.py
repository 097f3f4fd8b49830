"""A run's folder: what is refused, what may change, and what is never deleted."""

from __future__ import annotations

import pytest

from gantrain.config.loading import load, resolved
from gantrain.errors import UserError
from gantrain.runs.folder import CONFIG, open_run, prepare

MINIMAL = """
run: {name: a, steps: 3}
data: digits
game:
  name: gan
  loss: hinge
  penalties: [r1]
  generator: {model: conv, optimizer: adam}
  discriminator: {model: conv, optimizer: adam}
outer: {name: rapp, inner_steps: 5}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL)
    return lambda *overrides: load(path, overrides)


def contents(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.fixture
def run(tmp_path, config):
    folder = tmp_path / "checkpoints" / "a"
    prepare(folder, resolved(config()), resume=False, overwrite=False)
    (folder / "step_3").mkdir()
    (folder / "step_3" / "weights").write_text("trained")
    return folder


def test_a_new_run_has_its_resolved_config_and_nothing_else(tmp_path, config):
    folder = tmp_path / "checkpoints" / "ä"
    prepare(folder, resolved(config("run.name=ä")), resume=False, overwrite=False)
    assert contents(folder) == [CONFIG]
    assert open_run(folder) == (folder, config("run.name=ä"))


@pytest.mark.parametrize("flags", [{"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}])
def test_resume_and_overwrite_begin_a_run_that_is_not_there_yet(tmp_path, config, flags):
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        prepare(folder, resolved(config()), **flags)
        assert contents(folder) == [CONFIG]


def test_an_existing_run_is_refused_and_left_as_it_is(run, config):
    before = (run / CONFIG).read_text()
    with pytest.raises(UserError, match="a: this run exists; add --resume to go on, --overwrite .*, or run.name=NEW$"):
        prepare(run, resolved(config("run.steps=9")), resume=False, overwrite=False)
    assert (run / CONFIG).read_text() == before and (run / "step_3" / "weights").read_text() == "trained"


def test_overwrite_starts_over(run, config):
    prepare(run, resolved(config("run.steps=9")), resume=False, overwrite=True)
    assert contents(run) == [CONFIG] and open_run(run)[1].run.steps == 9


@pytest.mark.parametrize(
    "change",
    [
        *("run.steps=9", "run.gradients=9", "run.kimg=9", "run.device=cpu", "run.processes=2", "run.folder=x"),
        *("log.every=1", "samples.every=1", "samples.count=1", "checkpoint.every=1", "checkpoint.keep=1"),
    ],
)
def test_a_resumed_run_may_last_longer_and_write_other_things(run, config, change):
    prepare(run, resolved(config(change)), resume=True, overwrite=False)
    assert open_run(run)[1] == config(change)
    assert (run / "step_3" / "weights").read_text() == "trained"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("run.seed=1", "run.seed: the run in .*a has 0, this config 1; .*run.name=NEW"),
        ("run.precision=bf16", "run.precision: the run in .* has 'fp32', this config 'bf16'; .*"),
        ("data.batch_size=32", "data.batch_size: .*"),
        ("game.generator.optimizer.lr=1e-4", "game.generator.optimizer.lr: .* has 0.001, this config 0.0001; .*"),
        ("game.penalties=[r2]", "game.penalties: .*"),
        ("outer.samples=same", "outer.samples: .* has null, this config 'same'; .*"),
        ("outer={name: lookahead, base: gda}", "outer.name: .* has 'rapp', this config 'lookahead'; .*"),
        ("ema.decay=0.9", "ema.decay: .* has null, this config 0.9; .*"),
    ],
)
def test_a_resumed_run_keeps_what_it_computes(run, config, change, message):
    before = (run / CONFIG).read_text()
    with pytest.raises(UserError, match=f"^{message}$"):
        prepare(run, resolved(config(change)), resume=True, overwrite=False)
    assert (run / CONFIG).read_text() == before


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("content", [None, MINIMAL, "anything", "\xff"])
def test_a_folder_that_is_not_a_run_is_never_touched(tmp_path, config, flags, content):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    if content is not None:
        (folder / CONFIG).write_text(content, encoding="latin-1")
    before = contents(folder)
    with pytest.raises(UserError, match="mine: exists and is not a run; choose another run.name or run.folder$"):
        prepare(folder, resolved(config()), *flags)
    assert contents(folder) == before and (folder / "thesis.tex").read_text() == "precious"


def test_a_file_in_the_way_is_said(tmp_path, config):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match="a: is a file, and the run's folder would lie there; choose another run.name$"):
        prepare(tmp_path / "a", resolved(config()), False, True)
    with pytest.raises(UserError, match="a/b: cannot be written: Not a directory$"):
        prepare(tmp_path / "a" / "b", resolved(config()), False, False)
    assert (tmp_path / "a").read_text() == "mine"


def test_a_linked_run_is_not_deleted(tmp_path, run, config):
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(UserError, match="link: cannot be written: .*symbolic link"):
        prepare(link, resolved(config()), False, True)
    assert (run / "step_3" / "weights").read_text() == "trained"


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no run here; expected a folder with config.yaml"):
        open_run(tmp_path)
