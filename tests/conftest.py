"""Configs of tiny runs in the test's own folder, changed as on the command line."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

# torch, gantrain and what imports them are imported below where they are needed: pytest's own process hands all tests
# to its workers and would import them, for seconds, before it starts the first.

# Shells let what they start in the background ignore Ctrl-C, and nohup the end of the connection; commands under test
# would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# One thread on every machine, in this process and those that tests start: sums depend on how many there are.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "no":  # a worker, or the only process
        from gantrain.compute.compiler_import import postpone_compiler

        # As the command line does: torch would import its compiler, which takes seconds, for the first optimizer.
        postpone_compiler()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, and other tests fill the time that it waits.

    These are runs in processes of their own, and the tests of the whole package: its documentation, its wheel.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent not in (here, here / "end_to_end"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test and its fixtures draw the same numbers, whichever tests ran before."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _state_of_these_tests_alone(tmp_path_factory):
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    from forked import end_commands

    yield
    end_commands()


@pytest.fixture
def ring(tmp_path):
    from tiny import RING, config_of

    return lambda *overrides: config_of(RING, tmp_path, *overrides)


@pytest.fixture
def digits(tmp_path):
    from tiny import DIGITS, config_of

    return lambda *overrides: config_of(DIGITS, tmp_path, *overrides)
