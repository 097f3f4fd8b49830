"""CUDA graphs for machines without a GPU: what a compiled network returns is written over when the next step begins.

CUDA graphs return tensors in memory of their own, to which they write again in the next step. Here it is filled with
NaN instead, without a word, so that whatever is kept of it and used later makes the run diverge. Speed, capture and the
number of graphs cannot be shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from gantrain.compute import compile


@contextmanager
def emulated_graphs(copied: bool = True) -> Iterator[None]:
    """Inside the block networks that ``run.compile`` compiles on a CPU behave as CUDA graphs do.

    Args:
        copied: whether a run treats gradients as it does on a GPU.
    """
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    returned: list[Tensor] = []

    def own(t: Any, inputs: set[int]) -> Any:
        if not isinstance(t, Tensor) or not t.is_floating_point() or t.untyped_storage().data_ptr() in inputs:
            return t
        moved = t.clone()
        returned.append(moved.data)  # so that nothing notices that it is written over
        return moved

    def graph(module: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        def run(*arguments: Any) -> list[Any]:
            inputs = {a.untyped_storage().data_ptr() for a in arguments if isinstance(a, Tensor)}
            return [own(t, inputs) for t in module(*arguments)]

        return make_boxed_func(run)

    def write_over() -> None:
        for t in returned:
            t.fill_(math.nan)
        returned.clear()

    made = compile.Arithmetic.__init__

    def make(self: compile.Arithmetic, *arguments: Any) -> None:
        made(self, *arguments)
        self.graphs = copied

    backend = aot_autograd(fw_compiler=graph, bw_compiler=graph)
    torch._dynamo.reset()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compile, "compile_options", lambda graphs: {"backend": backend, "dynamic": False})
        patched.setattr(compile.Arithmetic, "__init__", make)
        patched.setattr(compile.Arithmetic, "begin_step", lambda self: write_over())
        yield
