"""Gradients in float16: every evaluation gives one, and the scale leaves no trace in it."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from cases import few
from forked import together
from torch import nn
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.compute.precision import autocast, upcast
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.distributed.sync_batch_norm import synchronise_batch_norm
from gantrain.errors import UserError
from gantrain.gradients import loss_scaling
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.outer import GDA, RAPP, Extragradient, Lookahead, Optimistic
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Plain, SAMPa

SIZE = 16
HALF = autocast("fp16", torch.device("cpu"))
ORACLES = {
    "plain": Plain,
    "sam": partial(SAM, 0.1),
    "asam_global": partial(SAM, 0.5, geometry="elementwise", ascent="global"),
    "bisam": partial(SAM, 0.1, climb="tanh"),
    "optsam": partial(SAM, 0.1, direction="previous"),
    "looksam": partial(SAM, 0.1, direction="smoothed", every=2, only="norm"),
    "sampa": partial(SAMPa, 0.1),
    "sampa_log": partial(SAMPa, 0.1, climb="log", ascent="local"),
}
LOOPS = {
    "gda": GDA,
    "optimistic": Optimistic,
    "rapp": partial(RAPP, 3, samples="same"),
    "lookahead": lambda: Lookahead(2, 0.5, Extragradient()),
}


class Data:
    """Batches of this process' rows; those of the last are ``last`` times as large."""

    def __init__(self, processes: Processes, last: float = 1.0):
        self.processes = processes
        self.last = last

    def __call__(self, draw: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        source = torch.Generator().manual_seed(draw)
        inputs, targets = torch.randn(SIZE, 6, generator=source), torch.randint(3, (SIZE,), generator=source)
        rank, world = self.processes.rank, self.processes.group_size
        part = torch.chunk(inputs, world)[rank] * (self.last if rank == self.processes.world_size - 1 else 1)
        return part, torch.chunk(targets, world)[rank]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)]
        return spectrally_normalised(nn.Sequential(*layers))


def objective(module: nn.Module, batch: Any, factor: float = 1.0) -> gt.Objective:
    logits = upcast(module(batch[0]))
    return gt.Objective(factor * cross_entropy(logits, batch[1]), logits, batch[1])


def field(oracle: Any = Plain, scale: float | None = None, f: Any = objective, **settings: Any) -> Field:
    settings = {"autocast": HALF, "scaled": True, "reseed": torch.manual_seed} | settings
    processes = settings.setdefault("processes", Processes())
    module = settings.pop("module", None) or network()
    batches = settings.pop("batches", None) or Data(processes)
    game = gt.games.Minimize(f, x=module)
    (player,) = game.players.values()
    learner = Learner(player, torch.optim.SGD(player.parameters, lr=0.1, momentum=0.9), oracle())
    one = Field(Evaluator(game, batches, **settings), [learner])
    if scale is not None:
        one.evaluator.loss_scales["x"].scale = scale
    return one


def run(one: Field, loop: Any = GDA, steps: int = 4) -> list[torch.Tensor]:
    """Parameters and buffers after some steps."""
    loop = loop()
    with torch.random.fork_rng(devices=[]):
        for _ in range(steps):
            loop.step(one)
            one.evaluator.step += 1
    return [t.detach().clone() for t in (*one.learners[0].parameters, *one.evaluator.buffers)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, left, right))


PAIRS = [(oracle, loop) for oracle in ORACLES for loop in LOOPS]
# Each oracle with the loop of most evaluations, and each loop with an oracle that evaluates once.
BASIC = [(oracle, "rapp") for oracle in ORACLES] + [("plain", loop) for loop in LOOPS]


@pytest.mark.parametrize("pair", few(PAIRS, *BASIC), ids="-".join)
def test_an_overflow_leaves_no_trace(pair):
    """Neither in gradients, nor in buffers, nor in what networks draw, nor in the count of evaluations."""
    oracle, loop = pair
    high, low = field(ORACLES[oracle], 2.0**40), field(ORACLES[oracle], 2.0**12)
    found, expected = run(high, LOOPS[loop]), run(low, LOOPS[loop])
    assert same(found, expected) and high.evaluator.evaluations == low.evaluator.evaluations
    assert high.evaluator.loss_scales["x"].scale < 2.0**24 and low.evaluator.loss_scales["x"].scale == 2.0**12


def test_a_scale_changes_no_bit_of_a_gradient_in_range():
    # In single precision nothing leaves the range; without a scale it is the ordinary gradient.
    for oracle in ORACLES.values():
        settings = {"autocast": torch.enable_grad, "f": partial(objective, factor=0.3)}
        plain = run(field(oracle, scaled=False, **settings))
        for scale in (1.0, 2.0**7, 2.0**16, 2.0**40):
            assert same(run(field(oracle, scale, **settings)), plain)
        # That only holds for powers of two.
        assert not same(run(field(oracle, 1000.0, **settings)), plain)


def error(one: Field, f: Any) -> float:
    """How far the gradient in float16 is from that in single precision, as a share of its length."""
    exact = field(scaled=False, autocast=torch.enable_grad, f=f)
    gradients = []
    for each in (one, exact):
        run(each, steps=1)
        gradients.append(torch.cat([p.grad.flatten() for p in each.learners[0].parameters]))
    return float((gradients[0] - gradients[1]).norm() / gradients[1].norm())


def test_a_small_gradient_does_not_vanish():
    f = partial(objective, factor=1e-6)
    assert error(field(scale=1.0, f=f), f) > 0.1  # float16 ends at 2^-24
    assert error(field(f=f), f) < 0.01


def test_a_large_loss_is_differentiated_at_a_smaller_scale():
    f = partial(objective, factor=1e4)
    one = field(f=f)
    assert error(one, f) < 0.01
    assert 1 <= one.evaluator.loss_scales["x"].scale < 2.0**16


def test_the_scale_doubles_after_as_many_clean_evaluations_as_torchs(monkeypatch):
    scaler = torch.amp.GradScaler("cpu")
    one = loss_scaling.LossScale()
    assert one.scale == scaler.get_scale() == 2.0**16
    assert scaler.get_growth_factor() * scaler.get_backoff_factor() == 1 and scaler.get_growth_interval() == 2000

    def evaluated():
        evaluate = lambda scales: {"x": (gt.Objective(torch.ones(())), [[torch.full((2,), scales["x"]), None]])}  # noqa: E731
        return loss_scaling.evaluate_in_range({"x": one}, evaluate, [], Processes())

    for _ in range(1999):
        assert evaluated()["x"][1][0][0].tolist() == [1, 1]
    assert (one.scale, one.clean) == (2.0**16, 1999)
    evaluated()
    assert (one.scale, one.clean) == (2.0**17, 0)


def test_what_diverges_says_so():
    def nan(module, batch):
        return objective(module, batch, float("nan"))

    def steep(module, batch):
        attempts.append(1)
        return gt.Objective((module[0].bias * 0).abs().sum().sqrt())

    attempts: list[int] = []
    end = " is not finite in fp16; the training diverged. Lower the learning rate, or use run.precision: bf16$"
    with pytest.raises(UserError, match=f"^step 0, player x: the loss{end}"):
        run(field(f=nan))
    with pytest.raises(UserError, match=f"^step 0, player x: the gradient, with a loss scale of 1,{end}"):
        run(field(f=steep))
    assert len(attempts) == 17


def test_what_the_device_cannot_compute_is_one_line():
    def distances(module, batch):
        return gt.Objective(upcast(torch.pdist(module(batch[0]))).sum())

    with pytest.raises(UserError, match=r"^player x: run.precision: fp16: .*Half.*; use bf16 or fp32$") as error:
        run(field(f=distances))
    assert "\n" not in str(error.value)

    def broken(module, batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="^something else$"):
        run(field(f=broken))


def test_a_resumed_field_goes_on_at_its_scale(monkeypatch):
    monkeypatch.setattr(loss_scaling, "_INTERVAL", 3)
    for name in ("plain", "sampa"):
        straight = field(ORACLES[name])
        points = [(run(straight, steps=1), straight.evaluator.loss_scales["x"].state_dict()) for _ in range(30)]
        # It has grown until it overflowed.
        scales = [scale["scale"] for _, scale in points]
        assert max(scales) > 2.0**16 and scales != sorted(scales)
        for split in (4, 17):
            one, resumed = field(ORACLES[name]), field(ORACLES[name])
            run(one, steps=split)
            resumed.evaluator.game.players["x"].module.load_state_dict(
                one.evaluator.game.players["x"].module.state_dict()
            )
            resumed.learners[0].optimizer.load_state_dict(copy.deepcopy(one.learners[0].optimizer.state_dict()))
            resumed.load_state_dict(copy.deepcopy(one.state_dict()))
            resumed.evaluator.step = split
            for tensors, scale in points[split:]:
                assert same(run(resumed, steps=1), tensors) and resumed.evaluator.loss_scales["x"].state_dict() == scale


def on_two() -> dict[str, Any]:
    with process_group(cpu=True):
        processes, found = Processes.launched(), {}
        for name, scale in (("high", 2.0**14), ("low", 2.0**4)):
            module = synchronise_batch_norm(network(), processes)
            one = field(
                partial(SAM, 0.1), scale, module=module, processes=processes, batches=Data(processes, last=50), f=steep
            )
            found[name] = run(one, LOOPS["rapp"])
            found[f"{name} scale"] = one.evaluator.loss_scales["x"].scale
        # One at a time, the second process overflows where the first does not.
        alone = field(Plain, 2.0**14, batches=Data(processes, last=50), f=steep)
        run(alone, steps=1)
        found["alone"] = alone.evaluator.loss_scales["x"].scale
        roles = field(partial(SAMPa, 0.1, parallel="on"), processes=processes)
        roles.evaluator.loss_scales["x"].scale = 2.0 ** (10 + processes.rank)
        roles.evaluator.loss_scales["x"].clean = 7 - processes.rank
        run(roles, steps=1)
        found["roles"] = roles.evaluator.loss_scales["x"].state_dict()
        return found


def steep(module: nn.Module, batch: Any) -> gt.Objective:
    """A loss whose gradient is as large as the inputs."""
    outputs = upcast(module(batch[0]))
    return gt.Objective((outputs.sum(1) * batch[0][:, 0]).mean())


@pytest.fixture(scope="module")
def two():
    return together(on_two)


def test_processes_of_which_one_overflows_evaluate_again_together(two):
    first, second = two
    assert first["alone"] == 2.0**14 > second["alone"]
    assert first["high scale"] == second["high scale"] < 2.0**14 and first["low scale"] == 2.0**4
    for answer in (first, second):
        assert same(answer["high"], answer["low"])
    assert same(first["high"], second["high"])


def test_roles_that_have_come_to_different_scales_take_the_lowest(two):
    first, second = two
    assert first["roles"] == second["roles"] and first["roles"]["scale"] == 2.0**10
    assert first["roles"]["clean"] == 6 + 2
