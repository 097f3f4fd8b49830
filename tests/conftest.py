"""Configs of tiny runs in the test's own folder, changed as on the command line."""

from __future__ import annotations

import signal

import pytest
from tiny import DIGITS, RING, config_of

# Shells let what they start in the background ignore Ctrl-C, and the commands under test would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ring(tmp_path):
    return lambda *overrides: config_of(RING, tmp_path, *overrides)


@pytest.fixture
def digits(tmp_path):
    return lambda *overrides: config_of(DIGITS, tmp_path, *overrides)
