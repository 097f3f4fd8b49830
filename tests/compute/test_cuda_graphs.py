"""Nothing that a compiled network returned is used after its step, over which CUDA graphs write."""

from __future__ import annotations

import pytest
from cases import few
from device_cases import CPU, FEW, MANY, far, sharp, trained
from emulated_graphs import emulated_graphs
from tiny import DIGITS

from gantrain.errors import Diverged

SAMPA = (DIGITS, *sharp("name: sampa"))
COMPILED = "run.compile=true"
CASES = {
    "sampa and scores": (*SAMPA, "log.to=[tensorboard]", "outer=optimistic"),
    **{name: case for name, case in (FEW | MANY).items() if "fp16" not in name},
}


@pytest.mark.parametrize("name", few(CASES, "sampa and scores"))
def test_no_part_keeps_what_a_graph_returned(tmp_path, name):
    expected = trained(tmp_path / "plain", CPU, CASES[name])
    with emulated_graphs():
        found = trained(tmp_path / "graphs", CPU, CASES[name], COMPILED)
    assert max(far(found, expected)) < 0.02


@pytest.mark.slow
def test_the_emulation_finds_a_gradient_that_is_kept(tmp_path):
    with emulated_graphs(copied=False), pytest.raises(Diverged):
        trained(tmp_path / "graphs", CPU, SAMPA, COMPILED)
