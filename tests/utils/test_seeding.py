import torch
from forked import together

from gantrain.utils.seeding import derive, generator


def test_a_seed_is_63_bits_and_differs_in_every_coordinate():
    seeds = {derive(seed, stream, step) for seed in range(5) for stream in ("latent", "order") for step in range(200)}
    assert len(seeds) == 2000
    assert all(0 <= s < 2**63 for s in seeds)
    assert max(seeds) > 2**62, "the top bit is used"


def test_coordinates_do_not_run_into_each_other():
    assert derive(1, "a", 11) != derive(11, "a", 1)
    assert derive(1, "a1", 1) != derive(1, "a", 11)


def test_the_function_is_the_same_in_another_process():
    # Hashes of str differ between interpreters, and the process is forked from another one; a seed must not.
    assert together(derive, 3, "latent", 7, world=1) == [derive(3, "latent", 7)]


def test_generators_repeat_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    first = torch.randn(5, generator=generator(0, "x", 1))
    again = torch.randn(5, generator=generator(0, "x", 1))
    other = torch.randn(5, generator=generator(0, "x", 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
