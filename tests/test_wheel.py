"""The wheel alone: built from a copy of the sources, installed where no clone can be imported, and tried there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gantrain

ROOT = Path(__file__).parent.parent
SHIPPED = ("checkpoints/digits-classifier", "checkpoints/photos-classifier", "checkpoints/cifar10-sngan")
FILES = ("pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
ENV = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "PYTHONPATH", "VIRTUAL_ENV")}


def build(kind, source, target):
    """The sdist or wheel that a build front end makes of the folder ``source``."""
    code = f"from setuptools.build_meta import build_{kind} as build; build(r'{target}')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=source, env=ENV)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packed, so that nothing is built in the clone; with rubbish that must not be packed."""
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in ("gantrain", "configs", *SHIPPED):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "best", "samples"))
    for rubbish in ("build/lib/gantrain/stale.py", "checkpoints/digits-classifier/events.tfevents"):
        (folder / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (folder / rubbish).write_text("")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel, which borrows all other packages from the present one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, env=ENV)
    executable = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python3*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(executable)]
    quick = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *quick, str(wheel)], check=True, env=ENV)
    # Paths that a .pth adds come last, and .pth files in them, such as an editable install's, are not read.
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return executable


@pytest.fixture
def run(python, tmp_path):
    """Runs the installed command in an empty folder, which must succeed; returns what it prints."""

    def run(*arguments):
        command = [str(python.with_name("gantrain")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=ENV)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_what_users_need_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    folder = f"gantrain-{gantrain.__version__}.dist-info"
    described = {f"{folder}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "gantrain").rglob("*.py")}
    configs = {f"gantrain/shipped/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    runs = [{name for name in names if name.startswith(f"gantrain/shipped/{run}/")} for run in SHIPPED]
    others = {"gantrain/py.typed", f"{folder}/licenses/LICENSE"}
    others |= {f"gantrain/commands/report/page.{kind}" for kind in ("html", "css", "js")}
    assert names - set().union(*runs) == code | configs | described | others
    files = {"config.yaml", "manifest.json", "state.json", "classifier.safetensors"}
    assert {Path(name).name for name in runs[0]} == files | {"optimizer.classifier.safetensors"}
    assert {Path(name).name for name in runs[1]} == files | {"data.json"}
    networks = {f"{name}.safetensors" for name in ("generator", "discriminator", "ema")}
    assert {Path(name).name for name in runs[2]} == files - {"classifier.safetensors"} | networks | {"data.json"}


@pytest.mark.slow
def test_the_sources_that_are_published_make_the_same_wheel(source, wheel, tmp_path):
    folders = [tmp_path / name for name in ("sdist", "unpacked", "wheel")]
    for folder in folders:
        folder.mkdir()
    shutil.unpack_archive(build("sdist", source, folders[0]), folders[1], filter="data")
    (unpacked,) = folders[1].iterdir()
    contents = [
        {n: z.read(n) for n in z.namelist()}
        for z in map(zipfile.ZipFile, (wheel, build("wheel", unpacked, folders[2])))
    ]
    assert contents[0] == contents[1]


def test_the_installed_command_answers_outside_the_clone(run, python, tmp_path):
    where = [str(python), "-c", "import gantrain; print(gantrain.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True, cwd=tmp_path, env=ENV).stdout
    assert Path(found).is_relative_to(python.parent.parent)
    assert run("--version") == f"gantrain {gantrain.__version__}\n"
    assert "classification" in json.dumps(json.loads(run("schema")))
    # The class of a target lies in the working directory, which an installed command does not have on its path.
    (tmp_path / "mine.py").write_text("from gantrain.outer import GDA\nclass Mine(GDA): pass\n")
    solved = run("solve", "configs/toy/bilinear.yaml", "outer={target: mine:Mine}", "steps=2")
    assert solved.startswith("Mine: 2 steps, 2 gradients a player, distance")
    assert (tmp_path / "checkpoints" / "bilinear" / "trajectory.csv").is_file()


@pytest.mark.slow
def test_the_quickstart_runs_from_the_wheel_alone(run, tmp_path):
    few = ("run.steps=20", "evaluate.every=10")
    assert "frechet_distance[digits-classifier]" in run("train", "configs/quickstart.yaml", *few)
    run("train", "configs/quickstart.yaml", "--processes", "2", "run.name=two", *few)
    run("train", "configs/quickstart.yaml", "--resume", "run.steps=30")
    run("sample", "checkpoints/quickstart", "--number", "4", "--images", "--output", "drawn")
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 4
    measured = json.loads(run("eval", "checkpoints/quickstart", "--samples", "100", "--json"))
    assert "frechet_distance[digits-classifier]" in json.dumps(measured)
    run("diagnose", "checkpoints/quickstart", "--batches", "1", "--eigenvalues", "1")
    assert run("report", "checkpoints/quickstart") == "checkpoints/quickstart/report.html\n"
    swept = ("sweep", "configs/quickstart.yaml", "--over", "outer=gda,extragradient", "run.steps=2", "evaluate=null")
    run(*swept, "run.name=swept")
    assert len(list((tmp_path / "checkpoints" / "swept").glob("outer=*"))) == 2
