"""A run's folder: what is refused, what may change, and what is never deleted."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from gantrain.config.loading import load, resolved
from gantrain.errors import Notice, UserError
from gantrain.runs import checkpoint
from gantrain.runs import folder as folders
from gantrain.runs.folder import CONFIG, RESOLVED_CONFIG, clear_folder, config_text, open_run, prepare_folder

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
    prepare_folder(folder, resolved(config()), resume=False, overwrite=False)
    (folder / "step_3").mkdir()
    (folder / "step_3" / "weights").write_text("trained")
    return folder


def _opened(folder):
    """The resolved config of the run that is found in the folder."""
    found, config = open_run(folder)
    assert found == folder
    return resolved(config)


def _in_its_folder(config, folder):
    """The resolved config as the run's own says it, in which the folder is that where it lies."""
    return {**resolved(config), "run": resolved(config)["run"] | {"folder": str(folder.parent)}}


def test_a_new_run_has_its_resolved_config_and_nothing_else(tmp_path, config):
    folder = tmp_path / "checkpoints" / "ä"
    prepare_folder(folder, resolved(config("run.name=ä")), resume=False, overwrite=False)
    assert contents(folder) == [CONFIG]
    assert _opened(folder) == _in_its_folder(config("run.name=ä"), folder)


@pytest.mark.parametrize("flags", [{"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}])
def test_resume_and_overwrite_begin_a_run_that_is_not_there_yet(tmp_path, config, flags):
    for folder in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        prepare_folder(folder, resolved(config()), **flags)
        assert contents(folder) == [CONFIG]


def test_an_existing_run_is_refused_and_left_as_it_is(run, config):
    before = (run / CONFIG).read_text()
    with pytest.raises(UserError, match="a: this run exists; add --resume to go on, --overwrite .*, or run.name=NEW$"):
        prepare_folder(run, resolved(config("run.steps=9")), resume=False, overwrite=False)
    assert (run / CONFIG).read_text() == before and (run / "step_3" / "weights").read_text() == "trained"


def test_overwrite_starts_over(run, config):
    prepare_folder(run, resolved(config("run.steps=9")), resume=False, overwrite=True)
    assert contents(run) == [CONFIG] and open_run(run)[1].run.steps == 9


@pytest.mark.parametrize(
    "change",
    [
        *("run.steps=9", "run.gradients=9", "run.kimg=9", "run.device=cpu", "run.processes=2", "run.folder=x"),
        *("log.every=1", "samples.every=1", "samples.count=1", "checkpoint.every=1", "checkpoint.keep=1"),
    ],
)
def test_a_resumed_run_may_last_longer_and_write_other_things(run, config, change):
    prepare_folder(run, resolved(config(change)), resume=True, overwrite=False)
    assert _opened(run) == _in_its_folder(config(change), run)
    assert (run / "step_3" / "weights").read_text() == "trained"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("run.seed=1", "run.seed: the run in .*a has 0, this config 1; .*run.name=NEW"),
        ("run.precision=bf16", "run.precision: the run in .* has 'fp32', this config 'bf16'; .*"),
        ("data.batch_size=32", "data.batch_size: .*"),
        ("game.generator.optimizer.lr=1e-4", "game.generator.optimizer.lr: .* has 0.001, this config 0.0001; .*"),
        ("game.penalties=[r2]", "game.penalties.0.name: the run in .* has 'r1', this config 'r2'; .*"),
        ("game.penalties=[]", "game.penalties.0.name: the run in .* has 'r1', this config null; .*"),
        ("outer.samples=same", "outer.samples: .* has null, this config 'same'; .*"),
        ("outer={name: lookahead, base: gda}", "outer.name: .* has 'rapp', this config 'lookahead'; .*"),
        ("ema.decay=0.9", "ema.name: .* has null, this config 'ema'; .*"),
    ],
)
def test_a_resumed_run_keeps_what_it_computes(run, config, change, message):
    before = (run / CONFIG).read_text()
    with pytest.raises(UserError, match=f"^{message}$"):
        prepare_folder(run, resolved(config(change)), resume=True, overwrite=False)
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
        prepare_folder(folder, resolved(config()), *flags)
    assert contents(folder) == before and (folder / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("flags", [(True, False), (False, True)])
def test_a_run_whose_config_somebody_replaced_says_so_and_how_to_go_on(tmp_path, config, trained, flags):
    (trained / "step_3" / "manifest.json").touch()
    (trained / CONFIG).write_text("mine: true")
    with pytest.raises(UserError, match="config.yaml: is not what gantrain wrote, whose first line is '# .* move the"):
        prepare_folder(trained, resolved(config()), *flags)
    assert (trained / CONFIG).read_text() == "mine: true"


def test_a_file_in_the_way_is_said(tmp_path, config):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match="a: is a file, and the run's folder would lie there; choose another run.name$"):
        prepare_folder(tmp_path / "a", resolved(config()), False, True)
    with pytest.raises(UserError, match="a/b: cannot be written: Not a directory$"):
        prepare_folder(tmp_path / "a" / "b", resolved(config()), False, False)
    assert (tmp_path / "a").read_text() == "mine"


def test_a_linked_run_is_not_deleted(tmp_path, run, config):
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(UserError, match="link: cannot be deleted: .*symbolic link"):
        prepare_folder(link, resolved(config()), False, True)
    assert (run / "step_3" / "weights").read_text() == "trained"


def test_opening_what_is_no_run(tmp_path, config):
    with pytest.raises(UserError, match="no run here; expected a folder with config.yaml"):
        open_run(tmp_path)
    for count, runs in ((1, "1 run"), (2, "2 runs")):
        prepare_folder(tmp_path / f"outer=gda,seed={count}", resolved(config()), False, False)
        with pytest.raises(UserError) as error:
            open_run(tmp_path)
        assert str(error.value) == (
            f"{tmp_path}: is a folder of {runs}; expected one run, such as {tmp_path}/outer=gda,seed=1 "
            f"(gantrain list {tmp_path} shows all)"
        )


FLAGS = [(False, False), (True, False), (False, True)]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize(
    "left",
    [
        (".DS_Store", "Thumbs.db", "._x", "desktop.ini"),
        ("config.yaml.tmp",),
        ("config.yaml.0123abcd.tmp", "metrics.jsonl.0123abcd.tmp", "lock"),
        ("lock", "lock.0123abcd", "lock.0123abcd.tmp"),
        ("config.yaml",),
    ],
    ids=lambda names: names[0],
)
def test_a_folder_in_which_no_run_began_is_free(tmp_path, config, flags, left):
    folder = tmp_path / "a"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    prepare_folder(folder, resolved(config()), *flags)
    assert _opened(folder) == _in_its_folder(config(), folder)
    assert not list(folder.glob("config.yaml.*")) and not list(folder.glob("metrics*"))


BLANK = {"missing": None, "empty": b"", "zeros": b"\0" * 4096, "cut off": RESOLVED_CONFIG[:9].encode()}


@pytest.fixture
def trained(tmp_path, config):
    """A run with one checkpoint, which has a copy of the config."""
    folder = tmp_path / "a"
    text = config_text(resolved(config()), RESOLVED_CONFIG)
    prepare_folder(folder, resolved(config()), False, False)
    checkpoint.save(folder, 3, {"clock": {"step": 3}}, 1, text)
    return folder


def lose(folder, content):
    (folder / CONFIG).unlink()
    if content is not None:
        (folder / CONFIG).write_bytes(content)


@pytest.mark.parametrize("lost", BLANK)
def test_a_config_that_was_lost_is_restored_from_the_checkpoint(trained, config, lost):
    lose(trained, BLANK[lost])
    with pytest.raises(UserError, match="a: this run exists; add --resume"):
        prepare_folder(trained, resolved(config()), False, False)
    with pytest.raises(UserError, match="run.seed: the run in .* has 0, this config 1"):
        prepare_folder(trained, resolved(config("run.seed=1")), True, False)
    prepare_folder(trained, resolved(config("run.steps=9")), True, False)
    assert open_run(trained)[1].run.steps == 9
    assert checkpoint.load(trained / "step_3")[0] == 3


@pytest.mark.parametrize("lost", BLANK)
def test_without_a_copy_the_run_goes_on_with_a_notice(trained, config, lost):
    lose(trained, BLANK[lost])
    checkpoint.save(trained, 3, {"clock": {"step": 3}}, 1)
    with pytest.warns(Notice, match="config.yaml: lost, so it cannot be checked that the run goes on with the config"):
        prepare_folder(trained, resolved(config()), True, False)
    assert _opened(trained) == _in_its_folder(config(), trained) and checkpoint.load(trained / "step_3")[0] == 3


def test_a_config_that_was_cut_off_further_on_is_replaced_by_the_copy(trained, config):
    whole = (trained / CONFIG).read_text()
    (trained / CONFIG).write_text(whole[: whole.index("game:") + 12])
    prepare_folder(trained, resolved(config()), True, False)
    assert (trained / CONFIG).read_text() == whole


@pytest.mark.parametrize("lost", BLANK)
def test_a_run_that_lost_its_config_is_overwritten_unless_it_holds_what_is_not_of_a_run(trained, config, lost):
    lose(trained, BLANK[lost])
    (trained / "thesis.tex").touch()
    (trained / ".DS_Store").touch()
    with pytest.raises(UserError, match="its config.yaml is lost, so .*, and thesis.tex is not; move that away"):
        prepare_folder(trained, resolved(config()), False, True)
    assert (trained / "step_3" / "state.json").exists()
    (trained / "thesis.tex").unlink()
    prepare_folder(trained, resolved(config("run.steps=9")), False, True)
    assert contents(trained) == [CONFIG] and open_run(trained)[1].run.steps == 9


@pytest.mark.parametrize("names", [("samples",), ("best",), ("step_3", "samples"), ("diagnosis",)])
def test_folders_with_names_as_a_run_has_them_are_no_run(tmp_path, config, names):
    for name in names:
        (tmp_path / "mine" / name).mkdir(parents=True)
    for flags in FLAGS:
        with pytest.raises(UserError, match="mine: exists and is not a run"):
            prepare_folder(tmp_path / "mine", resolved(config()), *flags)
    assert sorted(os.listdir(tmp_path / "mine")) == sorted(names)


@pytest.mark.parametrize("place", ["b", "samples", "step_3/b"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_run_does_not_begin_in_the_folder_of_another(trained, config, place, lost):
    """Also where that one has lost its config. What lies in it from before goes on."""
    if lost:
        (trained / CONFIG).unlink()
    before = contents(trained)
    for flags in FLAGS:
        with pytest.raises(
            UserError, match=f"{place}: would lie in the folder of another run, {trained}, .*run.folder$"
        ):
            prepare_folder(trained / place, resolved(config()), *flags)
    assert contents(trained) == before
    earlier = trained / place / "earlier"
    earlier.mkdir(parents=True)
    (earlier / CONFIG).write_text(config_text(resolved(config()), RESOLVED_CONFIG))
    prepare_folder(earlier, resolved(config("run.steps=9")), True, False)
    assert open_run(earlier)[1].run.steps == 9


@pytest.mark.parametrize("inner", ["b", "samples", "best/b", "step_3/b"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_run_that_holds_another_is_not_deleted(tmp_path, trained, config, inner, lost):
    """Though its own best checkpoint lies in a folder of its own; and though its deletion has begun."""
    shutil.copytree(trained, elsewhere := tmp_path / "elsewhere")
    shutil.copytree(elsewhere, trained / "best", ignore=shutil.ignore_patterns(CONFIG))
    shutil.copytree(elsewhere, trained / inner, dirs_exist_ok=True)
    if lost:
        (trained / inner / CONFIG).unlink()
    before = contents(trained)
    message = f"a: holds another run, {trained / inner}, which would be deleted with it; move that away first"
    with pytest.raises(UserError, match=message):
        prepare_folder(trained, resolved(config()), False, True)
    assert contents(trained) == before
    with pytest.raises(UserError, match=message):
        clear_folder(trained, overwrite=True)
    (trained / "deleted.tmp").write_text(RESOLVED_CONFIG)
    for flags in FLAGS:
        with pytest.raises(UserError, match=message):
            prepare_folder(trained, resolved(config()), *flags)
    assert contents(trained) == sorted([*before, "deleted.tmp"])
    shutil.rmtree(trained / inner)
    prepare_folder(trained, resolved(config()), False, True)
    assert contents(trained) == [CONFIG]


def test_runs_of_a_sweep_lie_beside_one_another(tmp_path, config):
    for name in ("a", "b"):
        prepare_folder(tmp_path / "sweep" / name, resolved(config()), False, False)
    prepare_folder(tmp_path / "sweep" / "a", resolved(config("run.steps=9")), False, True)
    for flags in FLAGS[:2]:
        with pytest.raises(UserError, match="sweep: exists and is not a run"):
            prepare_folder(tmp_path / "sweep", resolved(config()), *flags)


def test_killed_while_it_deletes_a_run_the_next_one_starts_anew(tmp_path, config, trained):
    (trained / "lock").touch()
    fatal = 0
    while True:
        folder = tmp_path / f"run{fatal}"
        prepare_folder(folder, resolved(config()), False, False)
        for step in (3, 6):
            checkpoint.save(folder, step, {"clock": {"step": step}}, 2)
        child = os.fork()
        if not child:
            unlink, calls = os.unlink, iter(range(100))

            def deadly(*arguments, unlink=unlink, calls=calls, fatal=fatal, **keywords):
                if next(calls) == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
                unlink(*arguments, **keywords)

            os.unlink = deadly
            prepare_folder(folder, resolved(config()), False, True)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        before = sorted(os.listdir(folder))
        prepare_folder(folder, resolved(config()), fatal % 2 == 0, False)
        assert contents(folder) == [CONFIG], before
        fatal += 1
    assert fatal >= 5
    assert folders.is_run(folder)


@pytest.mark.parametrize("key", ["data.path", "evaluate.features", "evaluate.data.path"])
def test_data_in_the_runs_folder_are_not_deleted_with_it(run, config, key, tmp_path):
    (run / "photographs").mkdir()
    inside = {"data": "digits", "evaluate": {"features": "inception"}} | unflatten(key, str(run / "photographs"))
    with pytest.raises(UserError, match=rf"^{key}: .*photographs lies in the run's folder, which --overwrite deletes"):
        prepare_folder(run, resolved(config()) | inside, False, True)
    (tmp_path / "link").symlink_to(run / "photographs")
    with pytest.raises(UserError, match="move it away first$"):
        prepare_folder(run, resolved(config()) | unflatten(key, str(tmp_path / "link")), False, True)
    assert (run / "photographs").is_dir() and (run / "step_3").is_dir()


def test_a_config_that_could_not_be_read_again_is_refused_before_anything_is_written(tmp_path, config):
    large = resolved(config()) | {"data": {"name": "lsun", "categories": ["x" * 99] * 2600}}
    with pytest.raises(UserError, match=r"a/config.yaml: the config with all its defaults: too large for a config"):
        prepare_folder(tmp_path / "a", large, False, False)
    assert contents(tmp_path) == ["c.yaml"]


def test_a_config_that_an_editor_gave_a_byte_order_mark_is_that_of_a_run(run, config):
    file = run / CONFIG
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert folders.is_run(run) and _opened(run) == _in_its_folder(config(), run)


def test_paths_may_differ_from_host_to_host_and_what_is_computed_may_not():
    for key in ("run.folder", "data.root", "data.train", "evaluate.features", "evaluate.features.weights"):
        folders.require_same_config(unflatten(key, "/home/a/x"), unflatten(key, "/home/b/x"))
    for key in ("evaluate.weights", "data.name", "game.loss.features"):
        with pytest.raises(UserError, match=f"^{key}: 'ema' here, and 'live' in the first process"):
            folders.require_same_config(unflatten(key, "ema"), unflatten(key, "live"))


def unflatten(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def test_a_run_that_begins_while_another_looks_is_named_as_what_stands_in_the_way(tmp_path, monkeypatch):
    """Between the look for a lock and that at the folder, another process has taken both."""
    run = tmp_path / "ring"

    def begins(path):
        monkeypatch.setattr(folders, "require_free", busy)
        run.mkdir()
        (run / CONFIG).write_text(f"# {RESOLVED_CONFIG}\n")

    def busy(path):
        raise UserError("process 5 writes into this run")

    monkeypatch.setattr(folders, "require_free", begins)
    with pytest.raises(UserError, match="process 5 writes into this run"):
        folders.require_available(run, {}, resume=False, overwrite=False)
