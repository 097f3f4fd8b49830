from __future__ import annotations

import pytest
import torch

from gantrain.utils.tensors import copy_, preserve, snapshot


def various() -> list[torch.Tensor]:
    layout = torch.channels_last
    return [
        torch.nn.Parameter(torch.randn(3, 2)),
        torch.tensor(7),
        torch.randn(2, 3, 4, 4).to(memory_format=layout),
        torch.randn(4, dtype=torch.float64),
        torch.empty(0),
        torch.tensor([1, 2]),
    ]


def test_a_snapshot_has_values_types_and_layout_and_memory_of_its_own():
    tensors = various()
    copies = snapshot(tensors)
    for copy, tensor in zip(copies, tensors, strict=True):
        assert torch.equal(copy, tensor) and copy.dtype == tensor.dtype and copy.stride() == tensor.stride()
        assert not copy.requires_grad and (copy.data_ptr() != tensor.data_ptr() or not tensor.numel())
    assert snapshot([]) == []


def test_a_snapshot_takes_the_memory_of_an_earlier_one_where_it_fits():
    tensors = various()
    first = snapshot(tensors)
    with torch.no_grad():
        for tensor in tensors:
            tensor += 1
    second = snapshot(tensors, into=first)
    assert second is first and all(torch.equal(a, b) for a, b in zip(second, tensors, strict=True))
    others = [t.double() if t.dtype == torch.float32 else t for t in tensors]
    for unfit in (tensors[:-1], others, [tensors[0].T, *tensors[1:]], []):
        kept = [t.clone() for t in first]
        copies = snapshot(unfit, into=first)
        assert copies is not first and all(torch.equal(a, b) for a, b in zip(copies, unfit, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_values_are_copied_within_every_type_and_restored_after_an_error():
    tensors, others = various(), various()
    before = [t.detach().clone() for t in tensors]
    with pytest.raises(KeyError), preserve(tensors):
        copy_(tensors, others)
        assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
