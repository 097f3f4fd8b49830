"""Every module can be imported, and the examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import gantrain
import gantrain as gt

PACKAGE = Path(gantrain.__file__).parent
# Importing __main__ runs the command.
MODULES = {
    ".".join(["gantrain", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__main__.py"
}
WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")]


def test_every_module_can_be_imported():
    for name in MODULES:
        importlib.import_module(name)


# What a user of the library meets first.
ENTRIES = [
    *(gt.load, gt.solve, gt.Trainer, gt.Learner, gt.EMA, gt.Objective, gt.data.Batches, gt.metrics.evaluate),
    *(gt.games.GAN, gt.games.Classification, gt.games.ZeroSum, gt.games.Minimize, gt.games.GeneralSum),
    *(gt.games.VectorField, gt.games.losses.Loss, gt.outer.Lookahead),
]


def test_what_users_meet_first_has_an_example():
    assert [entry.__qualname__ for entry in ENTRIES if ">>> " not in entry.__doc__] == []


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_say(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0 and found.attempted > 0
