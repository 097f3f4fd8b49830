"""The benchmark for GPUs, on a CPU."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts" / "bench"


def test_it_says_what_it_ran_on_and_measures_each_row(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu

    monkeypatch.setitem(gpu.LAYOUTS, "impossible", {"batch_norm": "none"})
    monkeypatch.setattr(gpu.Noise.__init__, "__defaults__", (8,))
    tiny = ["--widths", "4", "4", "--group-width", "4", "--batch", "4", "--rounds", "1", "--matrix", "16"]
    chosen = ["--networks", "r3gan", "--loops", "gda", "--precisions", "bf16", "--layouts", "eager"]
    gpu.main([*tiny, *chosen, "impossible", "--device", "cpu", "--output", str(tmp_path / "gpu.txt")])
    table = (tmp_path / "gpu.txt").read_text()
    assert table == capsys.readouterr().out
    assert table.startswith("device: the CPU; this says nothing about a GPU\n")
    numbers = re.search(r"^gda +bf16 +eager +([\d.]+) +[\d.]+ +([\d.]+) +[\d.]+ s$", table, re.MULTILINE)
    assert numbers and all(float(number) > 0 for number in numbers.groups()), table
    assert re.search(r"^gda +bf16 +impossible +failed: .*run.batch_norm: ", table, re.MULTILINE), table
