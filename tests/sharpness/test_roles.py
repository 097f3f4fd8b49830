"""SAMPa's two gradients taken by different processes, on real processes."""

from functools import partial

import pytest
import roles_worker as worker
import torch
from forked import together

import gantrain as gt
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.gradients.buffers import BufferSync
from gantrain.outer.field import _in_layout


@pytest.fixture(scope="module")
def serial():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    results = {name: worker.solve(name, Processes(), "auto") for name in worker.SCENARIOS}
    torch.set_num_threads(threads)
    return results


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def parallel(request, serial, tmp_path_factory):
    path = tmp_path_factory.mktemp("roles") / "serial.pt"
    torch.save(serial, path)
    return request.param, serial, together(worker.work, str(path), world=request.param)


def distance(left, right):
    return max((a.double() - b.double()).abs().max().item() for a, b in zip(left, right, strict=True))


def test_serial_and_parallel_iterates_are_the_same(parallel):
    world, alone, ranks = parallel
    for name in worker.RUN[world]:
        mine = ranks[0][name]["tensors"]
        assert distance(mine, alone[name]["tensors"]) < 1e-9, name
        if world == 2 and name not in ("gan_simultaneous", "gan_alternating"):
            # One process to a role sees what one process sees; the plain player's gradient is a sum of two halves.
            assert all(map(torch.equal, mine, alone[name]["tensors"])), name


def test_processes_stay_the_same_to_the_last_bit(parallel):
    world, _, ranks = parallel
    for name in worker.RUN[world]:
        for other in ranks[1:]:
            assert all(map(torch.equal, ranks[0][name]["tensors"], other[name]["tensors"])), name


def test_the_cost_is_that_of_the_serial_method(parallel):
    world, alone, ranks = parallel
    for name in worker.RUN[world]:
        assert all(rank[name]["evaluations"] == alone[name]["evaluations"] for rank in ranks)
    assert ranks[0]["gan_simultaneous"]["evaluations"] == {"d": 2 * 8 + 1, "g": 8}


def test_each_role_sends_its_own_gradient_and_the_last_one_the_buffers(parallel):
    world, _, ranks = parallel
    parameters = {"x": 4 * 6 + 6 + 6 + 6 + 6 * 3 + 3, "d": 2 * 6 + 6 + 6 + 1, "g": 2 * 6 + 6 + 6 + 6 + 6 * 2 + 2}
    buffers = {"classifier": 6 + 6 + 1, "gan_unsynchronised": (2 + 6) + (6 + 1) + (6 + 6 + 1)}
    for number, rank in enumerate(ranks):
        last = number >= world // 2
        for name, player, averaged in (("classifier", "x", []), ("gan_unsynchronised", "d", [parameters["g"]])):
            sent = [parameters[player], *([buffers[name]] if last else [])]
            assert rank["traffic"][name] == ([averaged] * 3, [sent] * 3)


def test_what_is_observed_is_the_same(parallel):
    _, alone, ranks = parallel
    for name in ("classifier", "gan_simultaneous"):
        expected = alone[name]["observed"]
        for rank in ranks:
            assert rank[name]["observed"] == pytest.approx(expected, abs=1e-9)
    names = {"cosine", "gradient_distance", "loss", "score/logit", "gradient_norm"}
    assert {("x", name) for name in names} == set(alone["classifier"]["observed"])


def test_a_run_goes_on_with_any_number_of_processes(parallel):
    world, alone, ranks = parallel
    for name, resumed in ranks[0]["resumed"].items():
        assert distance(resumed["tensors"], alone[name]["tensors"]) < 1e-9
        if world == 2:
            assert all(map(torch.equal, resumed["tensors"], alone[name]["tensors"]))
        # And back.
        back = worker.solve(name, Processes(), "off", ranks[-1][name]["middle"])
        assert distance(back["tensors"], alone[name]["tensors"]) < 1e-9


def test_without_roles_the_processes_share_every_pass(parallel):
    _, alone, ranks = parallel
    assert distance(ranks[0]["off"]["tensors"], alone["gan_simultaneous"]["tensors"]) < 1e-9


def test_a_local_ascent_is_that_of_the_rows_of_each_process(parallel):
    world, _, ranks = parallel
    shards = [[torch.chunk(worker.rows(t, Processes(), 4), world)[i] for t in range(4)] for i in range(world)]

    def slopes(points, t):
        leaves = [x.clone().requires_grad_() for x in points]
        return [
            torch.autograd.grad(worker.shard_loss(x, shard[t]), x)[0] for x, shard in zip(leaves, shards, strict=True)
        ]

    def up(x, directions):
        return [x + 0.3 * g / g.norm() for g in directions]

    def mean(gradients):
        return sum(gradients) / world

    x = worker.start()
    for t in range(3):
        x = x - 0.5 * mean(slopes(up(x, slopes([x] * world, t)), t))
    for rank in ranks:
        torch.testing.assert_close(rank["local"]["sam"], x, rtol=0, atol=1e-12)

    x = worker.start()
    here = slopes([x] * world, 0)
    for t in range(3):
        perturbed = mean(slopes(up(x, here), t))
        here = slopes([x - 0.5 * mean(here)] * world, t + 1)
        x = x - 0.5 * (0.8 * perturbed + 0.2 * mean(here))
    for rank in ranks:
        torch.testing.assert_close(rank["local"]["sampa"], x, rtol=0, atol=1e-12)


def test_parallel_needs_an_even_number_of_processes():
    three = Processes()
    three.rank, three.group_size, three.world_size = 0, 3, 3
    for processes, count in ((three, 3), (Processes(), 1)):
        with pytest.raises(UserError, match=f"^player x: sharpness.parallel: on needs 2 processes or .*, got {count};"):
            worker.scenario("classifier", processes, "on")
        field, _ = worker.scenario("classifier", processes, "auto")
        assert field.evaluator.evaluations == {"x": 0}
    with pytest.raises(UserError, match="^player x: sharpness.parallel: on needs 2 processes"):
        gt.solve(gt.games.Minimize(lambda x: x.sum(), x=torch.ones(1)), sharpness={"name": "sampa", "parallel": "on"})


def test_a_gradient_that_appears_later_is_refused_where_roles_could_not_tell():
    one = torch.ones(1)
    with pytest.raises(UserError, match="^player x: a parameter that had no gradient at first .*parallel: off"):
        _in_layout("x", [one], [None])
    assert _in_layout("x", [None, one, None], [one, one, None]) == [torch.zeros(1), one, None]


def test_counters_larger_than_the_flat_buffer_holds_are_handed_over():
    counter, statistic = torch.tensor(2**40 + 1), torch.tensor(0.25)
    processes = Processes()
    carried = []
    processes.begin_exchange = lambda tensors: carried.append(tensors) or (lambda: [[], [t.clone() for t in sent]])
    handover = BufferSync(processes, [counter, statistic], 2)
    counter += 3
    receive = handover.begin()
    [[nothing, sent]] = carried
    counter -= 2
    receive()
    assert nothing == [] and [t.dtype for t in sent] == [torch.float32] * 2
    assert counter == 2**40 + 4 and statistic == 0.25


def test_flags_and_complex_buffers_are_handed_over():
    mask, seen, spent = torch.tensor([True, False]), torch.tensor(False), torch.tensor(True)
    rotation = torch.tensor([1 + 2j])
    processes = Processes()
    processes.begin_exchange = lambda tensors: partial(list, [[], [t.clone() for t in tensors[1]]])
    handover = BufferSync(processes, [mask, seen, spent, rotation], 2)
    seen.fill_(True)
    spent.fill_(False)
    rotation *= 1j
    receive = handover.begin()
    seen.fill_(False)
    rotation.zero_()
    receive()
    assert mask.tolist() == [True, False] and seen and not spent and rotation == torch.tensor([-2 + 1j])


def test_all_processes_learn_of_a_loss_that_is_infinite_in_one_role():
    (first, x), (second, y) = together(worker.lose_in_one_role)
    assert first == second and "step 0, player x: the loss is not finite in fp16; the training diverged" in first
    assert x.equal(y)
