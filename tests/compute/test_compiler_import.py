"""Nothing that is not compiled waits for the import of torch's compiler, and it computes what it computes with it."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from forked import Command, run_command
from tiny import DIGITS, RING, config_of, rows, same, state, write

from gantrain.commands.train import train
from gantrain.compute.compiler_import import compiler_imported, postpone_compiler

# What takes long to import, and no step needs.
HEAVY = {"torch._dynamo", "torchvision", "sklearn", "scipy", "torch_fidelity"}


def light(folder, arguments, files, environment):
    """The command, which ends with 9 if something heavy was imported."""
    try:
        run_command(folder, arguments, files, environment)
    except SystemExit as end:
        found = HEAVY & sys.modules.keys()
        print(found or "", end="", file=sys.stderr, flush=True)
        sys.exit(9 if found else end.code)


@pytest.mark.parametrize(
    ("base", "overrides"),
    [
        (DIGITS, ["game.penalties=[{name: r1, every: 2}]", "outer={name: lookahead, inner_steps: 2, base: rapp}"]),
        (RING, ["game.generator.optimizer={name: sgd, lr: 0.1, momentum: 0.9}", "game.discriminator.sharpness=sampa"]),
    ],
)
def test_a_run_starts_without_what_it_does_not_need_and_is_the_same_to_the_bit(base, overrides, tmp_path):
    importlib.import_module("torch._dynamo")
    assert compiler_imported()
    whole = train(config_of(base, tmp_path, *overrides, "run.name=whole", "run.steps=6"))
    file = write(tmp_path, base, *overrides, "run.name=light")
    for arguments in (["run.steps=4"], ["run.steps=6", "--resume"]):
        command = Command(tmp_path, "train", file, *arguments, target=light)
        assert command.wait() == 0, command.errors
    assert same(state(tmp_path / "light"), state(whole)) and rows(tmp_path / "light") == rows(whole)


@pytest.mark.slow
def test_a_second_call_changes_nothing_and_the_compiler_is_told_what_not_to_trace_once_it_is_there():
    postpone_compiler()
    before = {name: vars(torch.optim.Optimizer)[name] for name in ("add_param_group", "state_dict")}
    step = torch.optim.Adam.step
    postpone_compiler()
    assert all(vars(torch.optim.Optimizer)[name] is method for name, method in before.items())
    assert torch.optim.Adam.step is step
    weights = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.5)

    @torch.compile(backend="eager")
    def decay():
        optimizer.zero_grad()
        weights.sum().backward()
        optimizer.step()

    decay()
    assert weights.tolist() == [0.5] * 3
