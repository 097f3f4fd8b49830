"""Several processes over gloo against torch's own modules on the whole batch."""

from __future__ import annotations

import copy
import os
import re
import signal
import socket
import time

import psutil
import pytest
import torch
import torch.distributed as dist
from forked import together
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import _interface, process_group
from gantrain.distributed.sync_batch_norm import SyncBatchNorm, synchronise_batch_norm
from gantrain.errors import UserError


def case(options: dict, shape: tuple[int, ...]) -> tuple[nn.Module, list[torch.Tensor], torch.Tensor]:
    """A batch norm with weights and statistics of its own, inputs of three steps, and a cotangent."""
    torch.manual_seed(0)
    options = {"kind": {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]} | options
    module = options.pop("kind")(shape[1], **options).double()
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    inputs = [3 + 2 * torch.randn(shape, dtype=torch.float64) for _ in range(3)]
    return module, inputs, torch.randn(shape, dtype=torch.float64)


class Conditional(nn.BatchNorm2d):
    """A batch norm of the user's own, with a parameter beside those of torch's."""

    def __init__(self, features):
        super().__init__(features, affine=False)
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return super().forward(x) * self.scale[:, None, None]


class Doubled(nn.Module):
    """The same batch norm under two names, with a hook and a parametrised weight."""

    def __init__(self, features):
        super().__init__()
        self.first = nn.BatchNorm2d(features)
        register_parametrization(self.first, "weight", nn.Softplus())
        self.first.register_forward_hook(lambda module, x, y: 2 * y)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x).tanh())


CASES = {
    "a user's own": ({"kind": Conditional}, (5, 3, 2, 2)),
    "twice": ({"kind": Doubled}, (5, 3, 2, 2)),
    "images": ({}, (6, 3, 4, 4)),
    "points": ({"momentum": 0.3}, (7, 5)),
    "sequences": ({"eps": 1e-2}, (4, 2, 7)),
    "cumulative": ({"momentum": None}, (4, 3)),
    "plain": ({"affine": False}, (4, 3, 2, 2)),
    "no statistics": ({"track_running_stats": False}, (8, 3)),
}


def passes(module: nn.Module, inputs: list[torch.Tensor], cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs, first and second derivatives of a function that is not linear in the output, and the statistics."""
    for x in inputs[:-1]:
        module(x)
    x = inputs[-1].clone().requires_grad_(True)
    output = module(x)
    (first,) = torch.autograd.grad((output.tanh() * cotangent).sum(), x, create_graph=True)
    penalty = first.square().sum()
    wanted = [x, *module.parameters()]
    second = torch.autograd.grad(penalty, wanted, allow_unused=True)
    module.eval()
    found = {"output": output, "first": first, "second": second[0], "evaluated": module(inputs[0])}
    found |= {f"second of {i}": g for i, g in enumerate(second[1:]) if g is not None}
    found |= dict(module.named_buffers())
    return {name: tensor.detach() for name, tensor in found.items()}


def synchronised() -> dict[str, dict[str, torch.Tensor]]:
    with process_group(cpu=True) as processes:
        rank, world, found = processes.process_index, processes.num_processes, {}
        for name, (options, shape) in CASES.items():
            module, inputs, cotangent = case(options, shape)
            module = synchronise_batch_norm(module)
            assert any(isinstance(m, SyncBatchNorm) for m in module.modules())
            inputs, cotangent = [x.tensor_split(world)[rank] for x in inputs], cotangent.tensor_split(world)[rank]
            found[name] = passes(module, inputs, cotangent)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            module = synchronise_batch_norm(nn.BatchNorm1d(3))
            output = module(torch.full((2, 3), 1.0 + rank).bfloat16())
        found["half"] = {"output": output.detach(), "mean": module.running_mean}
        return found


@pytest.fixture(scope="module", params=[2, 4])
def answers(request):
    return together(synchronised, world=request.param)


@pytest.mark.parametrize("name", CASES)
def test_batch_norm_over_processes_is_batch_norm_of_the_whole_batch(answers, name):
    """Also where the processes hold different numbers of samples."""
    module, inputs, cotangent = case(*CASES[name])
    expected = passes(module, inputs, cotangent)
    assert [set(answer[name]) for answer in answers] == [set(expected)] * len(answers)
    for key, tensor in expected.items():
        parts = [answer[name][key] for answer in answers]
        if key.startswith("second of"):  # of a parameter: a sum over the processes
            torch.testing.assert_close(sum(parts), tensor)
        elif key in ("output", "first", "second"):
            torch.testing.assert_close(torch.cat(parts), tensor)
        elif key == "evaluated":
            if name != "no statistics":  # evaluated by what each process holds itself
                torch.testing.assert_close(torch.cat(parts), tensor)
        else:
            for part in parts:
                torch.testing.assert_close(part, tensor)


def test_batch_norm_of_half_precision_is_computed_in_single(answers):
    for rank, answer in enumerate(answers):
        half = answer["half"]
        assert half["output"].dtype == torch.bfloat16 and half["mean"].dtype == torch.float32
        ranks = torch.arange(float(len(answers)))
        torch.testing.assert_close(half["mean"], torch.full((3,), 0.1 * (1 + ranks.mean().item())))
        expected = ((rank - ranks.mean()) / ranks.std(correction=0)).expand(2, 3)
        torch.testing.assert_close(half["output"].float(), expected, atol=1e-2, rtol=0)


class Scatter(torch.autograd.Function):
    """This process' rows of a tensor that all processes hold. The gradient is the inverse, and so is its gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.rows = len(x)
        return x.tensor_split(dist.get_world_size())[dist.get_rank()].clone()

    @staticmethod
    def backward(ctx, gradient):
        return Gather.apply(gradient, ctx.rows)


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rows):
        whole = x.new_zeros(rows, *x.shape[1:])
        whole.tensor_split(dist.get_world_size())[dist.get_rank()].copy_(x)
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx, gradient):
        return Scatter.apply(gradient), None


class Share(torch.autograd.Function):
    """A tensor that all processes hold and use. Its gradient is the sum of theirs, which again all of them share."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return Sum.apply(gradient)


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        return Share.apply(gradient)


def checked() -> dict[str, bool]:
    """Numerical derivatives of a batch norm of the whole batch, which all processes take in step."""
    with process_group(cpu=True):
        torch.manual_seed(0)
        found = {}
        for name, affine, shape in (("affine", True, (3, 2, 2)), ("plain", False, (3, 2))):
            module = synchronise_batch_norm(nn.BatchNorm1d(2, affine=affine, track_running_stats=False).double())

            def whole(x, *parameters, module=module):
                shared = dict(zip(("weight", "bias"), map(Share.apply, parameters), strict=False))
                return Gather.apply(torch.func.functional_call(module, shared, (Scatter.apply(x),)), len(x))

            x = (3 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
            inputs = (x, *(torch.rand_like(p, requires_grad=True) for p in module.parameters()))
            torch.testing.assert_close(
                whole(*inputs), nn.functional.batch_norm(x, None, None, *inputs[1:], training=True)
            )
            found[name] = torch.autograd.gradcheck(whole, inputs) and torch.autograd.gradgradcheck(whole, inputs)
        return found


def test_both_derivatives_are_those_of_finite_differences():
    assert together(checked) == [{"affine": True, "plain": True}] * 2


def far() -> tuple[list[torch.Tensor], list[int]]:
    """Batch norm in single precision far from zero, and the numbers in each collective that it takes."""
    with process_group(cpu=True) as processes:
        sizes, reduce = [], dist.all_reduce
        dist.all_reduce = lambda tensor, **k: (sizes.append(tensor.numel()), reduce(tensor, **k))[1]
        module = synchronise_batch_norm(nn.BatchNorm2d(3))
        x = distant().tensor_split(2)[processes.process_index].contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        y = module(x)
        (first,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
        first.square().sum().backward()
        dist.all_reduce = reduce
        return [y.detach(), module.running_var], sizes


def distant() -> torch.Tensor:
    """Two channels whose mean is a thousand standard deviations, and a constant one."""
    torch.manual_seed(0)
    x = 1000 + torch.randn(6, 3, 4, 4)
    x[:, 2] = 12345.6
    return x


def test_moments_far_from_zero_keep_their_digits_and_every_pass_takes_one_collective():
    module = nn.BatchNorm2d(3).double()
    expected = module(distant().double()).detach()
    (first, sizes), (second, _) = together(far)
    outputs = torch.cat([first[0], second[0]]).double()
    torch.testing.assert_close(outputs[:, :2], expected[:, :2], atol=1e-3, rtol=1e-3)
    # torch's kernel multiplies before it subtracts the mean, here too.
    assert outputs[:, 2].abs().max() < 1
    for _, variance in (first, second):
        torch.testing.assert_close(variance.double(), module.running_var, atol=1e-6, rtol=1e-5)
    # Forwards, backwards, forwards through the gradient, and again through what that has made of the first pass.
    assert sizes == [7, 6, 15, 6]


def test_replacing_batch_norm_keeps_names_weights_and_everything_else():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))
    expected = copy.deepcopy(network.state_dict())
    parameters = [p.data_ptr() for p in network.parameters()]
    network[2].eval()
    synced = synchronise_batch_norm(network)
    assert [type(m) for m in synced.modules()].count(SyncBatchNorm) == 2
    assert [m.training for m in synced.modules() if isinstance(m, SyncBatchNorm)] == [True, False]
    assert list(synced.state_dict()) == list(expected)
    assert all(torch.equal(synced.state_dict()[key], value) for key, value in expected.items())
    assert [p.data_ptr() for p in synced.parameters()] == parameters


def averages() -> tuple[list[torch.Tensor], list[torch.Tensor], int]:
    with process_group(cpu=True) as processes:
        calls = []
        reduce = dist.all_reduce
        dist.all_reduce = lambda *a, **k: (calls.append(a), reduce(*a, **k))[1]
        base = float(processes.process_index)
        launched = Processes.launched()
        averaged = launched.begin_mean([torch.full((2, 3), base), torch.tensor(base + 1), torch.arange(4.0) * base])()
        shared = [torch.full((3,), base), torch.tensor(processes.process_index)]
        launched.broadcast_(shared)
        dist.all_reduce = reduce
        return averaged, shared, len(calls)


def test_the_mean_takes_one_collective_and_the_first_process_speaks():
    for averaged, shared, calls in together(averages):
        assert calls == 1
        for got, expected in zip(
            averaged, [torch.full((2, 3), 0.5), torch.tensor(1.5), torch.arange(4.0) / 2], strict=True
        ):
            assert torch.equal(got, expected)
        assert torch.equal(shared[0], torch.zeros(3)) and shared[1] == 0


def deserted(rank: int, kind: type[BaseException]) -> str:
    """What each process says if one gives up while the other waits for it."""
    try:
        with process_group(cpu=True) as processes:
            dist.all_reduce(torch.zeros(1))  # until then the other may still be joining
            if processes.process_index == rank:
                raise kind("the disk is full")
            dist.all_reduce(torch.zeros(1))
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def test_the_error_of_one_process_is_that_of_the_other_which_waits_for_it():
    host = socket.gethostname()
    first, second = together(deserted, 1, UserError)
    assert second == "UserError: the disk is full"
    assert first == f"UserError: process 1 on {host}: the disk is full"
    first, second = together(deserted, 1, KeyError)
    assert second == "KeyError: 'the disk is full'"
    assert first == f"UserError: process 1 on {host}: KeyError: 'the disk is full'"


def test_a_process_that_ends_without_a_word_is_no_traceback_of_the_other():
    host = socket.gethostname()
    first, second = together(deserted, 0, SystemExit)
    assert first == "SystemExit: the disk is full"
    # The first process has the store, and may have taken its host's name with it.
    assert re.match(f"UserError: process 1 on {host}: process 0( on {host})? has ended \\(", second)
    assert second.endswith("); go on with --resume") and "\n" not in second and "pair.cc" not in second


def agreed(wrong: dict[int, BaseException]) -> str:
    """What each process says if those in ``wrong`` fail in a block that all enter; they could work on together."""
    with process_group(cpu=True):
        processes = Processes.launched()
        try:
            with processes.raise_on_all():
                if processes.rank in wrong:
                    raise wrong[processes.rank]
            said = "done"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        assert processes.all_reduce_sum(torch.ones(2)).tolist() == [processes.group_size] * 2
        return said


def test_what_is_wrong_in_one_process_is_wrong_in_all():
    host = socket.gethostname()
    everywhere = dict.fromkeys(range(3), UserError("this run exists"))
    assert together(agreed, {}, world=3) == ["done"] * 3
    assert together(agreed, everywhere, world=3) == ["UserError: this run exists"] * 3
    assert together(agreed, {0: UserError("no space")}, world=3) == ["UserError: no space"] * 3
    there = f"UserError: process 1 on {host}: no such file"
    assert together(agreed, {1: UserError("no such file"), 2: UserError("other")}, world=3) == [there] * 3
    bug = [f"UserError: process 2 on {host}: IndexError: 7"] * 2 + ["IndexError: 7"]
    assert together(agreed, {2: IndexError(7)}, world=3) == bug


def waited_for(wrong: bool = False, stop: bool = False, works: int = 0) -> str:
    """What each process says of a process that computes for longer than the others wait for one."""
    first = 0
    try:
        with process_group(cpu=True, timeout=1):
            processes = Processes.launched()
            first = processes.broadcast_object(os.getpid())
            with processes.all_work():
                end = time.monotonic() + 1.5
                while processes.rank == works and time.monotonic() < end:
                    pass
                if processes.rank == 0 and wrong:
                    raise KeyError("no such metric")
                if processes.rank == 1 and stop:
                    os.kill(first, signal.SIGSTOP)
            return f"done with {processes.all_reduce_sum(torch.ones(1)).item():g}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        if stop and first:
            os.kill(first, signal.SIGCONT)


@pytest.mark.slow
def test_a_process_that_computes_for_longer_than_the_timeout_is_waited_for_while_it_lives():
    host = socket.gethostname()
    assert together(waited_for, False, False, 1) == ["done with 2", "done with 2"]
    assert together(waited_for, True) == ["KeyError: 'no such metric'", "UserError: KeyError: 'no such metric'"]
    _, second = together(waited_for, False, True)
    assert second.startswith(f"UserError: process 1 on {host}: process 0") and "did not answer for 1 s" in second


def test_the_network_interface_is_the_one_towards_the_first_host():
    assert _interface("localhost") == next(
        name for name, found in psutil.net_if_addrs().items() if "127.0.0.1" in {each.address for each in found}
    )
    assert _interface("no.such.host.invalid") is None and _interface("") is None
