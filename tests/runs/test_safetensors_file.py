from __future__ import annotations

import pytest
import safetensors.torch
import torch

from gantrain.runs.safetensors_file import safetensors_file

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64]
TYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def test_the_library_reads_what_is_written():
    tensors = {f"ü.{dtype}": torch.tensor([[0, 1, 2], [3, 4, 5]]).to(dtype) for dtype in TYPES}
    tensors |= {"no dimension": torch.tensor(3.0), "no elements": torch.zeros(0, 3), "": torch.ones(1).expand(5)}
    base = torch.arange(12.0).view(3, 4)
    tensors |= {"whole": base, "turned": base.t(), "strided": base[:, ::2], "parameter": torch.nn.Parameter(base)}
    found = safetensors.torch.load(b"".join(safetensors_file(tensors)))
    assert found.keys() == tensors.keys()
    for name, t in tensors.items():
        assert found[name].dtype == t.dtype and found[name].shape == t.shape
        assert torch.equal(*(each.detach().contiguous().view(-1).view(torch.uint8) for each in (found[name], t))), name


def test_of_one_type_it_is_the_librarys_file_and_nothing_is_copied():
    tensors = {name: torch.rand(3, 4) for name in ("b", "a", "c")}
    pieces = safetensors_file(tensors)
    assert b"".join(pieces) == safetensors.torch.save(tensors)
    tensors["a"].zero_()
    assert bytes(pieces[1]) == bytes(48)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({"w": torch.zeros(2, dtype=torch.complex128)}, KeyError),
        ({"w": torch.zeros(2).to_sparse()}, ValueError),
        ({"\ud800": torch.zeros(2)}, ValueError),
    ],
)
def test_what_the_format_does_not_know_is_refused(tensors, error):
    with pytest.raises(error):
        safetensors_file(tensors)
