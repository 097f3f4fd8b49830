"""What ``import gantrain as gt`` offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gantrain as gt


def names_for_type_checkers() -> set[str]:
    tree = ast.parse(Path(gt.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.name for node in block.body for alias in node.names}


def test_every_public_name_is_there_for_python_and_for_type_checkers():
    assert (
        sorted([*gt._PUBLIC, *gt._FOLDERS])
        == sorted({*gt.__all__} - {"__version__"})
        == sorted(names_for_type_checkers())
    )
    for name in gt.__all__:
        assert getattr(gt, name) is not None


@pytest.mark.slow  # so does the check of the whole package, of refused_types.py
def test_type_checkers_refuse_a_wrong_argument(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import torch\nimport gantrain as gt\n"
        "game = gt.games.Minimize(lambda x: x.sum(), x=torch.ones(1))\n"
        "gt.solve(game, steps=3)\n"
        'gt.solve(game, steps="three")\n'
    )
    done = subprocess.run(
        # With the settings and the cache of the check of the whole package, which scripts/test.sh makes before.
        [sys.executable, "-m", "mypy", str(wrong)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parents[1],
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert 'Argument "steps" to "solve" has incompatible type "str"; expected "int"' in errors[0]
