"""Configs of tiny runs in the test's own folder, changed as on the command line."""

from __future__ import annotations

import pytest
from tiny import DIGITS, RING, config_of


@pytest.fixture
def ring(tmp_path):
    return lambda *overrides: config_of(RING, tmp_path, *overrides)


@pytest.fixture
def digits(tmp_path):
    return lambda *overrides: config_of(DIGITS, tmp_path, *overrides)
