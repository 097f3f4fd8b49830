"""How networks compute: compiled or not, in which memory layout, in which kind of single precision.

What is computed is the same within rounding, so that checkpoints do not depend on any of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gantrain.compute.precision import single_precision
from gantrain.errors import UserError
from gantrain.utils.tensors import tree_to

if TYPE_CHECKING:
    from gantrain.config.sections import Run


class Arithmetic:
    """The arithmetic of a run's networks in training, as its section ``run`` says.

    Compiled are the forward and backward passes of the networks. Whatever differentiates a network twice, for which
    compiled ones raise an error or give wrong numbers (with spectral norm, torch 2.14), or runs it on batches of other
    sizes, does so under :func:`uncompiled` or :func:`plain`.
    """

    def __init__(self, run: Run):
        self.compile = run.compile
        self.channels_last = run.channels_last
        self.tf32 = run.tf32

    def prepare(self, networks: Iterable[nn.Module], shape: tuple[int, ...], device: torch.device) -> None:
        """Lay out and compile the networks of all players, in place; parameters and buffers stay the same objects.

        A network that is prepared already stays as it is. Nothing is compiled before a network first runs. A deep copy
        of a compiled network is not compiled.

        Raises:
            UserError: the data are no images, which alone have channels; this machine cannot compile.
        """
        if self.channels_last and len(shape) != 3:
            raise UserError(f"run.channels_last: the data are no images, but of shape {shape}; set it to false")
        if self.compile:
            with self.in_force():
                torch.compile(_one_more, dynamic=False, options={"fx_graph_cache": False})(torch.ones(2, device=device))
        for network in networks:
            for t in [*network.parameters(), *network.buffers()]:
                t.data = self.laid_out(t.data)
            if self.compile and network._compiled_call_impl is None:
                network.compile(**compiler())

    def laid_out(self, tree: Any) -> Any:
        """A tensor, or nested dicts, lists and tuples of them, in the layout in which the networks have theirs."""
        return tree_to(tree, memory_format=torch.channels_last) if self.channels_last else tree

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Around a run: the process computes in this way, and afterwards as before.

        Raises:
            UserError: a network cannot be compiled, or is differentiated twice though it is.
        """
        with single_precision(self.tf32), _compiling() if self.compile else nullcontext():
            yield


def compiler() -> dict[str, Any]:
    """What torch.compile is told."""
    from torch._inductor.custom_graph_pass import CustomGraphPass
    from torch.utils.checkpoint import CheckpointPolicy

    class KeepMoved(CustomGraphPass):
        """What a forward pass writes into a buffer is kept for the backward pass, if that needs it.

        To save memory it would be computed again from the buffer, as though that still held what it held before: the
        vectors of spectral norm would be moved twice, and those of real samples from where the fake ones left them.
        """

        def __call__(self, graph: torch.fx.Graph) -> None:
            for node in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
                if node.args[0].op == "placeholder" and isinstance(node.args[1], torch.fx.Node):
                    node.args[1].meta["recompute"] = CheckpointPolicy.MUST_SAVE

        def uuid(self) -> str:
            return "gantrain.compute.compile.KeepMoved 1"

    # Dropout draws what it draws uncompiled, as a function of the seed. Batches of a run have one size, or a few.
    return {"dynamic": False, "options": {"fallback_random": True, "joint_custom_post_pass": KeepMoved()}}


def uncompiled() -> AbstractContextManager:
    """Where this is in force, networks run uncompiled."""
    return torch.compiler.set_stance("force_eager")


@contextmanager
def plain() -> Iterator[None]:
    """Where this is in force, networks run uncompiled and in full single precision, as for measurements."""
    with uncompiled(), single_precision(tf32=False):
        yield


def _one_more(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@contextmanager
def _compiling() -> Iterator[None]:
    from torch._dynamo import config as tracing
    from torch._dynamo.exc import TorchDynamoException
    from torch._functorch import config as differentiating

    # Beyond a number of graphs for one network, those of earlier runs in this process included, torch compiles no more.
    torch.compiler.reset()
    try:
        # An oracle may differentiate two targets of one forward pass, and has to find its buffers as they were.
        with tracing.patch(recompile_limit=32), differentiating.patch(donated_buffer=False):
            yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise UserError(
            f"run.compile: the networks cannot be compiled ({reason}); install a C++ compiler and Python's headers "
            "(Debian and Ubuntu: apt-get install g++ python3-dev), or set it to false"
        ) from error
    except RuntimeError as error:
        if "does not currently support double backward" in str(error):
            raise UserError(
                "run.compile: something other than a penalty differentiates a compiled network twice, which cannot be; "
                "make it a penalty, or set run.compile to false"
            ) from error
        raise
