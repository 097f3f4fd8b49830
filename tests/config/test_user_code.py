"""Errors that come out of a user's part, but are not its own, keep their kind for those who can explain them."""

import pytest
import torch.distributed as dist

from gantrain.config.user_code import UserCode
from gantrain.errors import UserError


class Own:
    pass


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[../third_party/gloo/pair.cc:534] Connection closed by peer"), dist.DistNetworkError("gone")],
    ids=["gloo", "torch"],
)
def test_the_end_of_another_process_is_no_mistake_of_the_part_that_waited_for_it(error):
    with pytest.raises(type(error)) as caught, UserCode("outer", Own()):
        raise error
    assert caught.value is error


def test_an_error_of_the_part_is_one_line_with_its_key():
    with (
        pytest.raises(UserError, match=r"^outer: Own raised RuntimeError: no such luck \(.*\)$"),
        UserCode("outer", Own()),
    ):
        raise RuntimeError("no such luck")
