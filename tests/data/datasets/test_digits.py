import pytest
import torch

from gantrain.data import Digits
from gantrain.data.pixels import decode, encode


def test_the_stored_digits_are_scikit_learns_at_eight_pixels():
    from sklearn.datasets import load_digits

    digits, original = Digits(), load_digits()
    assert digits.samples.shape == (1797, 1, 8, 8)
    assert digits.samples.dtype == torch.uint8
    levels = digits.samples[:, 0].double() * 16 / 255
    assert torch.allclose(levels, torch.from_numpy(original.images), atol=0.04), "within rounding to 8 bits"
    assert torch.equal(digits.labels, torch.from_numpy(original.target).long())
    assert (digits.spec.shape, digits.spec.classes) == ((1, 8, 8), 10)


def test_decoding_reaches_both_ends_exactly_and_encoding_inverts_it():
    levels = torch.arange(256, dtype=torch.uint8)
    decoded = decode(levels)
    assert decoded.dtype == torch.float32
    assert (decoded[0], decoded[-1]) == (-1, 1)
    assert torch.equal(encode(decoded), levels)
    assert encode(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    assert torch.equal(Digits().decode(levels), decoded)


@pytest.mark.parametrize("size", [16, 32])
def test_enlarged_digits_average_back_to_the_small_ones(size):
    small, large = Digits(), Digits(size)
    assert large.samples.shape == (1797, 1, size, size)
    assert large.spec.shape == (1, size, size)
    averaged = torch.nn.functional.avg_pool2d(large.samples.float(), size // 8)
    correlation = torch.corrcoef(torch.stack([averaged.flatten(), small.samples.float().flatten()]))[0, 1]
    assert correlation > 0.97


def test_the_splits_share_out_the_digits():
    everything, train, test = (Digits(split=s) for s in ("all", "train", "test"))
    assert (len(train.samples), len(test.samples)) == (1438, 359)
    rows = lambda d: sorted((*x.flatten().tolist(), y) for x, y in zip(d.samples, d.labels.tolist(), strict=True))  # noqa: E731
    assert sorted(rows(train) + rows(test)) == rows(everything)
    assert set(test.labels.tolist()) == set(range(10))
