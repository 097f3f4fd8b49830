"""How networks compute: compiled or not, in which memory layout, and in which kind of single precision.

Results are the same within rounding error, so that a checkpoint fits every one of these settings.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gantrain.compute.compiler_import import compiler_imported
from gantrain.compute.device import every_operation, gpu_algorithms
from gantrain.compute.precision import single_precision
from gantrain.errors import UserError
from gantrain.utils.shards import is_shard
from gantrain.utils.tensors import Tree, tree_to

if TYPE_CHECKING:
    from torch._inductor.custom_graph_pass import CustomGraphPass

    from gantrain.config.sections import Run


class Arithmetic:
    """The arithmetic that the section ``run`` of a config chooses for the networks in training.

    The forward and the backward pass of each network are compiled. Code that differentiates a network twice must do so
    under :func:`uncompiled` or :func:`reference_arithmetic`: a compiled network then raises an error or gives wrong
    numbers (with spectral norm, torch 2.14). The same holds for code that runs a network on batches of other sizes.

    Args:
        run: the section of the config.
        device: the device of the networks.
        world_size: the number of processes.

    Attributes:
        graphs: whether compiled networks run as CUDA graphs: on a GPU, in a single process. Several would exchange
            numbers inside of a graph where batch norm is taken over all of them.
    """

    def __init__(self, run: Run, device: torch.device, world_size: int = 1):
        self.device = device
        self.compile = run.compile
        self.graphs = run.compile and device.type == "cuda" and world_size == 1
        self.channels_last = run.channels_last
        self.tf32 = run.tf32
        self.deterministic = run.deterministic

    def prepare(self, networks: Iterable[nn.Module], shape: tuple[int, ...]) -> None:
        """Lay out networks in memory and compile them, in place; parameters and buffers stay the same objects.

        A network that is prepared already stays as it is. A network is compiled when it first runs. A deep copy of a
        compiled network is not compiled.

        Args:
            networks: the networks of all players.
            shape: the shape of one sample of the data.

        Raises:
            UserError: channels_last is set and the samples are no images; this machine cannot compile.
        """
        if self.channels_last and len(shape) != 3:
            raise UserError(f"run.channels_last: expected images, got data of shape {shape}; set it to false")
        networks = list(networks)
        new = [network for network in networks if network._compiled_call_impl is None] if self.compile else []
        if new:
            with self.applied():  # a try, so that the error comes before the first step
                one_more = torch.compile(_one_more, dynamic=False, options={"fx_graph_cache": False})
                one_more(torch.ones(2, device=self.device))
        for network in networks:
            # A sharded weight lies in rows.
            for t in (t for t in [*network.parameters(), *network.buffers()] if not is_shard(t)):
                t.data = self.to_memory_format(t.data)
        for network in new:
            network.compile(**compile_options(self.graphs))

    def to_memory_format(self, tree: Tree) -> Tree:
        """A tensor, or tensors in nested dicts, lists and tuples, in the memory format of the networks."""
        return tree_to(tree, memory_format=torch.channels_last) if self.channels_last else tree

    def begin_step(self) -> None:
        """Say that a training step begins: CUDA graphs may write over what they returned in the step before."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the process compute in this way inside the block, and as before after it.

        Raises:
            UserError: a network cannot be compiled, a compiled network is differentiated twice, what it returned in a
                CUDA graph is used after its step, or an operation would give other bits each time.
        """
        algorithms = gpu_algorithms(self.device, self.deterministic)
        with algorithms, single_precision(self.tf32), _compiling() if self.compile else nullcontext():
            yield


def compile_options(graphs: bool) -> dict[str, Any]:
    """The keyword arguments with which networks are compiled by ``torch.nn.Module.compile``.

    Args:
        graphs: whether they run as CUDA graphs, each of which the GPU gets in one launch.
    """
    options = {
        "fallback_random": True,  # dropout draws the same numbers as uncompiled
        "joint_custom_post_pass": _keep_buffer_updates(),
        "triton.cudagraphs": graphs,
    }
    # Batches of a run have one size or a few, so sizes are static.
    return {"dynamic": False, "options": options}


def _keep_buffer_updates() -> CustomGraphPass:
    """A pass over the compiled graph that saves for the backward pass every value that is written into a buffer.

    To save memory the compiler would compute such a value again in the backward pass, from a buffer that has changed
    in the meantime. The vectors of spectral norm would take a second power iteration, and those of real samples would
    start where the fake samples had left them.
    """
    from torch._inductor.custom_graph_pass import CustomGraphPass
    from torch.utils.checkpoint import CheckpointPolicy

    class KeepBufferUpdates(CustomGraphPass):
        def __call__(self, graph: torch.fx.Graph) -> None:
            for node in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
                buffer, value = node.args[:2]
                if buffer.op == "placeholder" and isinstance(value, torch.fx.Node):
                    value.meta["recompute"] = CheckpointPolicy.MUST_SAVE

        def uuid(self) -> str:
            """The pass' part of the key of the compiler's cache."""
            return "gantrain.compute.compile.KeepBufferUpdates 1"

    return KeepBufferUpdates()


@contextmanager
def temporary_cache() -> Iterator[None]:
    """Let the compiler write into a folder that is gone after the block."""
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            yield
        finally:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
            if before is not None:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = before


def uncompiled() -> AbstractContextManager[Any]:
    """A context manager under which compiled networks run uncompiled."""
    return torch.compiler.set_stance("force_eager") if compiler_imported() else nullcontext()


@contextmanager
def reference_arithmetic() -> Iterator[None]:
    """Run networks uncompiled and in full single precision inside the block, as measurements need it."""
    with uncompiled(), single_precision(tf32=False), every_operation():
        yield


def _one_more(x: torch.Tensor) -> torch.Tensor:
    return x + 1


@contextmanager
def _compiling() -> Iterator[None]:
    from torch._dynamo import config as tracing
    from torch._dynamo.exc import TorchDynamoException
    from torch._functorch import config as differentiating

    # torch compiles a limited number of graphs for one network, and counts those of earlier runs in this process.
    torch.compiler.reset()
    try:
        # An oracle may differentiate one forward pass twice, so the first backward pass must not overwrite its buffers.
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
                "run.compile: something other than a penalty differentiates a compiled network twice, which torch "
                "cannot do; make it a penalty, or set run.compile to false"
            ) from error
        if "output of CUDAGraphs that has been overwritten" in str(error):
            raise UserError(
                "run.compile: something uses what a network returned in an earlier step, over which CUDA graphs have "
                "written since; let it keep a copy (tensor.clone()), or set run.compile to false"
            ) from error
        raise
