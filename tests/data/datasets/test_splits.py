import pytest
import torch

from gantrain.data import Digits
from gantrain.data.datasets.splits import split_rows, training_part
from gantrain.errors import UserError


@pytest.mark.parametrize(("count", "fraction"), [(1000, 0.1), (45, 0.3), (7, 0.5)])
def test_train_and_validation_share_out_the_rows(count, fraction):
    train, held_out = split_rows(count, "train", fraction), split_rows(count, "validation", fraction)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(count))
    assert len(held_out) == round(count * fraction)
    for part in (train, held_out):
        assert part.tolist() == sorted(part.tolist())


def test_the_choice_is_fixed_scattered_and_nested():
    small, large = (set(split_rows(1000, "validation", f).tolist()) for f in (0.1, 0.2))
    assert small < large
    assert small == set(split_rows(1000, "validation", 0.1).tolist())
    assert all(any(100 * i <= row < 100 * (i + 1) for row in small) for i in range(10))
    state = torch.get_rng_state()
    split_rows(100, "train", 0.1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("split", "fraction"), [("validation", 0.0), ("train", 1.0), ("validation", 0.001)])
def test_an_empty_part_is_refused(split, fraction):
    with pytest.raises(
        UserError, match=rf"data.validation: {fraction:g} of 10 training .* leaves the {split} part empty"
    ):
        split_rows(10, split, fraction)


def test_noise_falls_on_training_labels_only_and_not_by_what_is_held_out():
    samples, labels = torch.arange(2000), torch.arange(2000) % 10
    _, everything = training_part(samples, labels, 10, "train", 0.0, 0.5, noise_seed=3)
    kept, noisy = training_part(samples, labels, 10, "train", 0.25, 0.5, noise_seed=3)
    assert torch.equal(noisy, everything[kept])
    held_out, clean = training_part(samples, labels, 10, "validation", 0.25, 0.5, noise_seed=3)
    assert torch.equal(clean, held_out % 10) and len(clean) == 500
    assert (noisy != kept % 10).float().mean().item() == pytest.approx(0.45, abs=0.05)


def as_rows(digits):
    return sorted((*x.flatten().tolist(), y) for x, y in zip(digits.samples, digits.labels.tolist(), strict=True))


def test_the_digits_have_a_validation_part():
    train, held_out = (Digits(split=split, validation=0.1) for split in ("train", "validation"))
    assert (len(train.samples), len(held_out.samples)) == (1294, 144)
    assert sorted(as_rows(train) + as_rows(held_out)) == as_rows(Digits(split="train"))


def test_digits_with_noisy_labels():
    settings = {"validation": 0.1, "label_noise": 0.6, "noise_seed": 1}
    for split in ("validation", "test"):
        assert as_rows(Digits(split=split, **settings)) == as_rows(Digits(split=split, validation=0.1))
    noisy, clean = Digits(split="train", **settings), Digits(split="train", validation=0.1)
    assert torch.equal(noisy.samples, clean.samples)
    assert (noisy.labels != clean.labels).float().mean().item() == pytest.approx(0.54, abs=0.05)
