from collections import Counter

import pytest
import torch

from gantrain.data import Batch, Batches, DataSpec
from gantrain.data.batch import BLOCK
from gantrain.errors import UserError


class Numbered:
    """Sample i is the number i, and its label is i mod 3."""

    def __init__(self, n, labelled=True):
        self.samples = torch.arange(n, dtype=torch.float32).unsqueeze(1)
        self.labels = torch.arange(n) % 3 if labelled else None
        self.spec = DataSpec((1,), classes=3 if labelled else 0)

    def decode(self, raw):
        return raw


def numbers(batch):
    return [int(x) for x in batch.real[:, 0]]


def draws(batch):
    return batch.normal("latent", 4), batch.uniform("mix", 1, 2), batch.integers("class", 10), batch.labels


@pytest.mark.parametrize("n, size", [(12, 4), (10, 4), (7, 4), (5, 5)])
def test_every_sample_comes_up_once_per_epoch_also_where_batches_straddle_epochs(n, size):
    batches = Batches(Numbered(n), size, seed=1)
    seen = [x for i in range(3 * n) for x in numbers(batches(i, i))]
    epochs = [seen[e * n : (e + 1) * n] for e in range(len(seen) // n)]
    assert len(epochs) >= 3
    for epoch in epochs:
        assert Counter(epoch) == Counter(range(n))
    assert epochs[0] != epochs[1], "every epoch has its own order"


def test_a_batch_is_a_function_of_seed_and_draw_whatever_was_asked_before():
    one, other = Batches(Numbered(10), 4, seed=3), Batches(Numbered(10), 4, seed=3)
    asked = [one(i, 0) for i in (9, 2, 0, 5, 2)]
    for batch in asked:
        twin = other(batch.index, 17)
        assert numbers(twin) == numbers(batch)
        for a, b in zip(draws(twin), draws(batch), strict=True):
            assert torch.equal(a, b)
    assert numbers(asked[1]) == numbers(asked[4])
    assert numbers(Batches(Numbered(10), 4, seed=4)(0, 0)) != numbers(one(0, 0))


def test_draws_differ_between_streams_and_between_indices_but_not_within():
    batches = Batches(Numbered(10), 4, seed=3)
    batch, following = batches(0, 0), batches(1, 0)
    assert torch.equal(batch.normal("latent", 8), batch.normal("latent", 8))
    assert not torch.equal(batch.normal("latent", 8), batch.normal("other", 8))
    assert not torch.equal(batch.normal("latent", 8), following.normal("latent", 8))


def test_the_step_is_carried_and_changes_no_number():
    batches = Batches(Numbered(10), 4, seed=3)
    early, late = batches(2, 1), batches(2, 9)
    assert (early.step, late.step) == (1, 9)
    for a, b in zip(draws(early), draws(late), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_ranks_shares_together_are_the_batch_of_one_process(world):
    alone = Batches(Numbered(10), 8, seed=5)
    ranks = [Batches(Numbered(10), 8, seed=5, rank=r, world_size=world) for r in range(world)]
    for i in range(6):
        whole, shares = alone(i, i), [batches(i, i) for batches in ranks]
        assert [len(s) for s in shares] == [8 // world] * world
        assert torch.equal(torch.cat([s.real for s in shares]), whole.real)
        for parts, expected in zip(zip(*map(draws, shares), strict=True), draws(whole), strict=True):
            assert torch.equal(torch.cat(parts), expected)


def test_shapes_types_and_ranges():
    batch = Batches(Numbered(10), 8, seed=5)(0, 0)
    normal, uniform, integers, labels = draws(batch)
    assert (normal.shape, uniform.shape, integers.shape) == ((8, 4), (8, 1, 2), (8,))
    assert (normal.dtype, uniform.dtype, integers.dtype, labels.dtype) == (
        torch.float32,
        torch.float32,
        torch.int64,
        torch.int64,
    )
    assert uniform.min() >= 0 and uniform.max() < 1
    assert set(batch.integers("coin", 2).tolist()) <= {0, 1}
    assert torch.equal(labels, batch.real[:, 0].long() % 3), "labels go with their samples"


def test_data_without_labels():
    assert Batches(Numbered(10, labelled=False), 4, seed=0)(0, 0).labels is None


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    draws(Batches(Numbered(10), 4, seed=0)(0, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_that_is_larger_than_the_data_is_refused():
    with pytest.raises(UserError) as error:
        Batches(Numbered(10), 11, seed=0)
    assert str(error.value) == ("data.batch_size: 11 samples asked for, but the training part has 10; use at most 10")


def test_a_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(UserError, match="batch_size: 6 samples cannot be shared evenly by 4 processes"):
        Batches(Numbered(10), 6, seed=0, world_size=4)


def test_numbers_of_a_large_batch_are_functions_of_the_row_and_only_those_needed_are_drawn(monkeypatch):
    size = 3 * BLOCK - 24
    drawn = []
    for name in ("randn", "rand", "randint"):
        original = getattr(torch, name)

        def counted(*arguments, original=original, **keys):
            numbers = original(*arguments, **keys)
            drawn.append(len(numbers))
            return numbers

        monkeypatch.setattr(torch, name, counted)

    def numbers(rank, world):
        part = Batch(torch.zeros(size // world, 1), None, index=5, step=0, seed=3, rank=rank, world_size=world)
        return part.normal("z", 2), part.uniform("u"), part.integers("i", 7)

    whole = numbers(0, 1)
    assert all(len(n.unique(dim=0)) == size for n in whole[:2])
    for world in (2, 8):
        for whole_numbers, parts in zip(
            whole, zip(*(numbers(r, world) for r in range(world)), strict=True), strict=True
        ):
            assert torch.equal(whole_numbers, torch.cat(parts))
    drawn.clear()
    numbers(7, 8)
    assert drawn == 3 * [BLOCK - 24]


def test_a_batch_of_one_block_draws_its_numbers_at_once():
    from gantrain.utils.seeding import generator

    part = Batch(torch.zeros(64, 1), None, index=5, step=0, seed=3)
    assert torch.equal(part.normal("z", 2), torch.randn(64, 2, generator=generator(3, "z", 5)))
