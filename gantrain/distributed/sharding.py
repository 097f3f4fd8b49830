"""Networks whose parameters are divided among the processes, by FSDP2 (``torch.distributed.fsdp.fully_shard``).

Each process holds a shard of every parameter, and therefore of every gradient, optimizer state and copy. A network is
gathered in *units*, while they compute: a unit is a layer or a block with a million parameters or more, and all the
rest of the network is one more, its root. FSDP2 is imported only where a network is sharded, since that takes seconds.

It is torch's and not that of Accelerate's plugin, which divides the last network of a call of ``prepare`` only, and on
CPUs none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._pytree import tree_leaves, tree_map

from gantrain.distributed.environment import launched_place
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.utils.shards import is_shard, whole

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Kind = Literal["none", "full", "hybrid"]
# The least number of parameters that are worth a collective of their own.
_LEAST = 1_000_000
# Modules that read the weights of modules inside them, which therefore must be gathered with them.
_ATOMIC = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase)
# Modules whose ``forward`` is not how what they hold is called, or that belong to the layer around them.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, ParametrizationList)

# By network: the same network without numbers, from which copies are made; torch cannot copy one that is sharded.
_forms: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def mesh_of(kind: Kind, processes: Processes, device: torch.device) -> DeviceMesh | None:
    """The processes as torch's mesh: those among which parameters are divided; None where each holds them whole.

    One process has nobody to share with, and holds everything.

    Args:
        kind: "full" divides parameters among all processes, "hybrid" among those of each host.
        processes: all processes.
        device: the device of this process.

    Raises:
        UserError: with "hybrid", the hosts have different numbers of processes, or one each.
    """
    if kind == "none" or processes.world_size == 1:
        return None
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

    if kind == "full":
        return init_device_mesh(device.type, (processes.world_size,))
    place = launched_place()
    here = 1 if place is None else place.local_world_size
    numbers = processes.gather(here)
    if len(set(numbers)) > 1:
        found = ", ".join(map(str, sorted(set(numbers))))
        raise UserError(
            f"run.sharding: hybrid needs as many processes on each host, got {found}; start equally many, or use full"
        )
    if here == 1:
        raise UserError(
            "run.sharding: hybrid divides parameters among the processes of a host, and each host has one; use full"
        )
    ranks = torch.arange(processes.world_size).view(-1, here)
    # torch would give the groups of the mesh its own timeout of half an hour.
    groups = [processes.own_group(each.tolist()) for each in (ranks.T, ranks)]
    return DeviceMesh.from_group(groups, device.type, ranks, mesh_dim_names=("hosts", "shards"))


def shard(network: nn.Module, mesh: DeviceMesh, processes: Processes) -> None:
    """Divide the parameters of a network among the processes, in place; all take those of the first process.

    Buffers stay whole in each process. Optimizers and other holders of the parameters are made afterwards.

    Args:
        network: the network, on the device on which it computes.
        mesh: from :func:`mesh_of`.
        processes: all processes.
    """
    from torch.distributed.fsdp import fully_shard

    for p in network.parameters():
        p.data = p.data.contiguous()  # FSDP2 takes no other layout
    for t in (*network.parameters(), *network.buffers()):
        processes.broadcast_([t])  # one by one, since there may be no memory for a second network
    memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in network.parameters()}
    _forms[network] = copy.deepcopy(network, memo)
    numbers = {p for p in network.parameters() if p.dim() == 0}  # which cannot be divided, and stay whole
    for unit in _units(network):
        unit.register_forward_hook(_no_views)
        fully_shard(unit, mesh=mesh, reshard_after_forward=True, ignored_params=numbers)
        unit.register_forward_pre_hook(_SameGradients(unit))
        unit.register_forward_hook(_watch)
    network.register_forward_hook(_no_views)
    root = fully_shard(network, mesh=mesh, reshard_after_forward=False, ignored_params=numbers)
    root.set_reshard_after_backward(False, recurse=False)
    for module in _sharded_modules(network):
        # torch has put a class of its own in the place of the network's, whose name messages would show.
        _, _, cls, *_ = type(module).__mro__
        type(module).__name__, type(module).__qualname__, type(module).__module__ = (
            cls.__name__,
            cls.__qualname__,
            cls.__module__,
        )
    # Its methods may be called before it is, and a unit that ran first would take itself for the root.
    network._get_fsdp_state()._lazy_init()  # type: ignore[operator]


def is_sharded(network: nn.Module) -> bool:
    """Whether the parameters of a network, or of one inside it, are divided among the processes."""
    return any(module in _forms for module in network.modules())


class Gathering:
    """The passes of an evaluation through sharded networks: what is gathered for them is given up at its end.

    Inside the context the roots of the networks are whole in each process, so that their methods may be called and
    their weights read. Each unit is gathered when it computes, forwards and backwards. A unit through which a gradient
    is taken before :meth:`differentiate` stays whole until the end, because that gradient's graph holds its weights.

    Args:
        networks: the networks of all players, of which some may be whole.
    """

    def __init__(self, networks: Iterable[nn.Module]):
        everyone = list(networks)
        self.networks = [network for network in everyone if network in _forms]
        self._parameters = [p for network in everyone for p in network.parameters()]

    def __bool__(self) -> bool:
        return bool(self.networks)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The context of one objective and its gradients."""
        global _objective
        if not self:
            yield
            return
        for network in self.networks:
            network.unshard()  # type: ignore[operator]
        _objective = True
        try:
            with _explaining():
                yield
        finally:
            _objective = False
            for network in self.networks:
                for unit in _sharded_modules(network):
                    if unit is not network:
                        unit.set_reshard_after_forward(True, recurse=False)
                        unit.set_reshard_after_backward(True, recurse=False)
                    unit.reshard()

    def differentiate(self, value: Tensor, parameters: Sequence[Tensor], retain_graph: bool) -> list[Tensor | None]:
        """The gradient of a scalar: in sharded parameters the mean over all processes, of which each gets its shards.

        All processes must call this together.

        Args:
            value: the scalar.
            parameters: the parameters of a player.
            retain_graph: whether the graph is differentiated once more.
        """
        for p in self._parameters:
            p.grad = None
        with self.backward():
            # Not in the parameters alone: in the graph are those that were gathered, which are other tensors.
            torch.autograd.backward(value, retain_graph=retain_graph)
        found = [p.grad for p in parameters]
        for p in self._parameters:
            p.grad = None
        return found

    @contextmanager
    def backward(self) -> Iterator[None]:
        """The part of an evaluation, after the objectives, in which the players' own gradients are taken."""
        global _objective
        _objective = False
        yield
        held = {id(p) for p in self._parameters}
        for network in self.networks:
            if any(p.grad is not None for p in network.parameters() if id(p) not in held):
                raise UserError(
                    "run.sharding: a weight is used before the module that holds it is called, and its gradient came "
                    "after those of all others; call modules as a whole, or use run.sharding: none"
                )


def backward_into(
    ends: Sequence[Tensor],
    starts: Sequence[Tensor],
    inputs: Sequence[Tensor],
    others: Sequence[Tensor],
    retain_graph: bool = False,
) -> None:
    """``torch.autograd.backward(ends, starts, inputs=inputs)``, also for sharded parameters.

    Args:
        ends: what is differentiated.
        starts: the gradients in ``ends``.
        inputs: the leaves whose ``.grad`` gets the gradient.
        others: the parameters of other players, whose ``.grad`` stays as it is.
        retain_graph: whether the graph is differentiated once more.
    """
    if not any(map(is_shard, inputs)):
        torch.autograd.backward(ends, starts, inputs=inputs, retain_graph=retain_graph)
        return
    before = [p.grad for p in others]
    for p in others:
        p.grad = None
    torch.autograd.backward(ends, starts, retain_graph=retain_graph)
    for p, gradient in zip(others, before, strict=True):
        p.grad = gradient


@contextmanager
def whole_in_place(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside the block sharded networks are whole in each process, which may then run them without the others.

    All processes enter the block together. Nobody may step an optimizer in it.
    """
    sharded = [unit for network in networks if network in _forms for unit in _sharded_modules(network)]
    for unit in sharded:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.set_reshard_after_backward(False, recurse=False)
        unit.set_requires_gradient_sync(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in sharded:
            unit.set_reshard_after_forward(unit not in _forms, recurse=False)
            unit.set_reshard_after_backward(unit not in _forms, recurse=False)
            unit.set_requires_gradient_sync(True, recurse=False)
            unit.reshard()


def copied(module: nn.Module, parameter: Callable[[Tensor], Tensor] = Tensor.clone) -> nn.Module:
    """A deep copy of a module, in which networks may be sharded. By default the copy has shards, and cannot compute.

    Args:
        module: the module.
        parameter: the value of each parameter of a sharded network in the copy, in new memory.
    """
    memo: dict[int, Any] = {}
    for network in module.modules():
        if network in _forms:
            memo[id(network)] = _rebuilt(network, parameter)
    return copy.deepcopy(module, memo)


def whole_copy(module: nn.Module, wanted: bool = True) -> nn.Module | None:
    """A copy of a module with whole parameters, which this process may run without the others.

    All processes must call this together, also those that do not want a copy and get none.
    """
    if not any(is_shard(p) for p in module.parameters()):
        return module if wanted else None
    if wanted:
        return copied(module, lambda p: whole(p) if is_shard(p) else p.clone())
    for p in module.parameters():
        whole(p)
    return None


def _rebuilt(network: nn.Module, parameter: Callable[[Tensor], Tensor]) -> nn.Module:
    form = _forms[network]
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for blank, p in zip(form.parameters(), network.parameters(), strict=True):
            memo[id(blank)] = nn.Parameter(parameter(p.detach()), p.requires_grad)
        for before, b in zip(form.buffers(), network.buffers(), strict=True):
            memo[id(before)] = b.clone()
    rebuilt = copy.deepcopy(form, memo)
    for module, like in zip(rebuilt.modules(), network.modules(), strict=True):
        module.training = like.training
    if any(is_shard(p) for p in rebuilt.parameters()):
        _forms[rebuilt] = form
    return rebuilt


def _units(network: nn.Module) -> list[nn.Module]:
    """The modules inside a network that are gathered one by one, from the innermost outwards."""
    names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    if len(names) > len(list(network.parameters())):
        return []  # what shares parameters must be gathered together
    units: list[nn.Module] = []

    def rest(module: nn.Module) -> int:
        """The number of parameters in a module that are in no unit."""
        # A hook may read all weights inside before the layers are called.
        whole = isinstance(module, _ATOMIC) or bool(module._forward_pre_hooks)
        number = sum(p.numel() for p in module.parameters(recurse=whole))
        number += 0 if whole else sum(rest(child) for child in module.children())
        if number < _LEAST or module is network or isinstance(module, _CONTAINERS):
            return number
        units.append(module)
        return 0

    rest(network)
    return units


def _sharded_modules(network: nn.Module) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in network.modules() if isinstance(module, FSDPModule)]


# Whether an objective is being computed, in which nobody takes the gradients of its player yet.
_objective = False


def _no_views(_: nn.Module, __: Any, output: Any) -> Any:
    """Give what a module returns memory of its own: torch loses sight of views that are written into."""

    def own(t: Any) -> Any:
        return t.clone() if isinstance(t, Tensor) and t._base is not None and t.requires_grad else t

    return tree_map(own, output)


class _SameGradients:
    """A hook by which the gathered parameters of a unit require a gradient where its shards do.

    A game may switch that off and on, and the unit may have been gathered in between and still be.

    Args:
        unit: the unit, which holds its shards.
    """

    def __init__(self, unit: nn.Module):
        self._shards = [
            (module._parameters, name, p)
            for module in unit.modules()
            for name, p in module._parameters.items()
            if p is not None
        ]

    def __call__(self, *_: object) -> None:
        for present, name, shard in self._shards:
            p = present[name]
            if p is not None and p is not shard and p.requires_grad != shard.requires_grad:
                p.requires_grad_(shard.requires_grad)


def _watch(unit: Any, _: Any, output: Any) -> None:
    """Notice gradients that are taken through a unit inside an objective, as gradient penalties take them."""

    def keep(gradient: Tensor) -> None:
        if _objective:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.set_reshard_after_backward(False, recurse=False)

    for t in tree_leaves(output):
        if isinstance(t, Tensor) and t.requires_grad:
            t.register_hook(keep)


@contextmanager
def _explaining() -> Iterator[None]:
    """Explains what torch says where a network is used in another way than by calling its modules."""
    try:
        yield
    except (RuntimeError, UserError) as error:
        if "mixed torch.Tensor and DTensor" not in str(error):
            raise
        # What goes wrong in a part of the user's own is an error of the user's already, which begins with the part.
        who = str(error).partition(" raised ")[0] if isinstance(error, UserError) else "run.sharding: the game"
        raise UserError(
            f"{who} reads a weight without calling the module that holds it, and with run.sharding this process has a "
            "shard of it only; call modules as a whole, or use run.sharding: none"
        ) from error
