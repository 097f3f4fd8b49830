"""A device for machines without one: its tensors hold the numbers of CPU tensors, and count what they would cost.

The device stands for a GPU. It refuses to mix its tensors with the CPU's wherever CUDA refuses; it computes what the
CPU computes, to the bit; and it counts launches (operations that a GPU would be sent) and synchronisations (at which
the program would wait for the GPU). To torch it is a device of its user's own (PrivateUse1), of the type ``gpu``.

What it cannot show: speed, rounding of other kernels, streams, NCCL, and what depends on the name ``cuda``. Autocast
follows the CPU's rules, so that half precision gives the same bits.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map

NAME = "gpu"
DEVICE = torch.device("cpu")  # until the device is set up

aten = torch.ops.aten
_COPIES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default}
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
# The size of what these return depends on the numbers, which the program must wait for.
_SIZED_BY_NUMBERS = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
}
_NO_KERNEL = {
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_strided.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
    aten._unsafe_view.default,
    aten._reshape_alias.default,
    aten.lift_fresh.default,
    aten.is_same_size.default,
    aten._local_scalar_dense.default,
}


class Counts:
    """What the device was asked for.

    Attributes:
        launches: the number of operations by name; one on a list of tensors counts once.
        waits: the number of synchronisations by what the program waited for and where.
    """

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()


_counting: list[Counts] = []


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what the device is asked for inside the block."""
    counts = Counts()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


class DeviceTensor(Tensor):
    """A tensor on the device; ``inner`` is the CPU tensor that holds its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> DeviceTensor:
        return Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner: Tensor):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, *args, **kwargs or {})

    @property
    def data(self) -> Tensor:
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, other: DeviceTensor) -> None:
        self.inner = other.inner
        Tensor.data.__set__(self, other)

    def tolist(self) -> Any:
        _wait("tolist")
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __repr__(self, **_: Any) -> str:
        return f"{self.inner!r} on {DEVICE}"


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation on the numbers of its arguments; what it returns lies where it would lie with CUDA."""
    flat = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    here = [t for t in flat if isinstance(t, DeviceTensor)]
    elsewhere = [t for t in flat if not isinstance(t, DeviceTensor)]
    name = str(op).removeprefix("aten.")
    if here and elsewhere:
        _require_allowed(op, name, args, elsewhere)
    asked = kwargs.get("device")
    to_device = bool(here) if asked is None else torch.device(asked).type == NAME
    _count(op, name, args, kwargs, here, elsewhere, to_device)

    sent = bool(elsewhere) and _is_sent(op, args, kwargs)
    wrappers = {id(t.inner): t for t in here}
    original = args
    # Not all of torch's internal calls know what wraps a tensor.
    args, kwargs = tree_map(lambda t: t.inner if isinstance(t, DeviceTensor) else t, (args, kwargs))
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    if sent:
        _on_their_way.append((args[0], args[1].clone()))
        return args[0]
    result = op(*args, **kwargs)
    # torch counts the writes into single tensors itself, and leaves those into lists to the device's own operation.
    for argument, given in zip(op._schema.arguments, original, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(given, list | tuple):
            torch.autograd.graph.increment_version([t for t in given if isinstance(t, DeviceTensor)])

    def wrapped(t: Any) -> Any:
        if not isinstance(t, Tensor) or isinstance(t, DeviceTensor) or not to_device:
            return t
        wrapper = wrappers.get(id(t))
        if wrapper is None:
            return DeviceTensor(t)
        if t.shape != wrapper.shape:
            raise NotImplementedError(f"{name} changes the shape of a tensor, which the emulated device cannot follow")
        return wrapper

    return tree_map(wrapped, result)


def _require_allowed(op: Any, name: str, args: tuple[Any, ...], elsewhere: list[Tensor]) -> None:
    """Refuse an operation on tensors here and on the CPU, unless CUDA takes it."""
    if op in _COPIES:
        return
    if op in _INDEXED:
        indices = [t for t in args[1] if t is not None]
        values = tree_flatten(args[2:])[0]
        allowed = isinstance(args[0], DeviceTensor) and all(
            any(t is i for i in indices) or (t.dim() == 0 and any(t is v for v in values)) for t in elsewhere
        )
    else:
        # Numbers in tensors of no dimension; lists of tensors must all lie here.
        takes_numbers = torch.Tag.pointwise in op.tags and "_foreach" not in name
        allowed = takes_numbers and all(t.dim() == 0 for t in elsewhere)
    if not allowed:
        shapes = [tuple(t.shape) for t in elsewhere]
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
            f"({name}, of shapes {shapes} on the CPU, at {_place()})"
        )


def _count(
    op: Any,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    here: list[DeviceTensor],
    elsewhere: list[Tensor],
    to_device: bool,
) -> None:
    if not _counting:
        return
    if op in _COPIES and (bool(here) != to_device or elsewhere):
        _count_transfer(op, args, kwargs)
    elif here and op is aten._local_scalar_dense.default:
        _wait("item")
    elif here and op in _SIZED_BY_NUMBERS:
        _wait(name)
    elif here and op in _INDEXED:
        indices = [t for t in args[1] if t is not None]
        if any(not isinstance(t, DeviceTensor) for t in indices):
            _wait("index on the CPU")
        elif any(t.dtype in (torch.bool, torch.uint8) for t in indices):
            _wait("mask as an index")
    is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
    if to_device and op not in _NO_KERNEL and not is_view:
        for counts in _counting:
            counts.launches[name] += 1


def _count_transfer(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A copy from the CPU or to it: the program waits for it, unless it goes to the device and need not block."""
    if op is aten._to_copy.default:
        arrives, blocks = not isinstance(args[0], DeviceTensor), not kwargs.get("non_blocking", False)
    else:
        target = args[0][0] if op is aten._foreach_copy_.default else args[0]
        arrives = isinstance(target, DeviceTensor)
        blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    if not arrives:
        if not _is_sent(op, args, kwargs):
            _wait("copy to the CPU")
    elif blocks:
        _wait("blocking copy from the CPU")


def _is_sent(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether numbers are copied to the CPU without waiting for them: they arrive when the stream is synchronised."""
    blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    return op is aten.copy_.default and not blocks and not isinstance(args[0], DeviceTensor)


class _Stream:
    """The only stream of the device."""

    def synchronize(self) -> None:
        _wait("synchronisation")
        for target, numbers in _on_their_way:
            target.copy_(numbers)
        _on_their_way.clear()


class _Event:
    """A point in what the device was told, which it has reached unless it :func:`stands_still`."""

    def __init__(self, device: torch.device):
        assert device.type == NAME
        self._reached = False

    def record(self) -> None:
        self._reached = not _still

    def query(self) -> bool:
        return self._reached or not _still


@contextmanager
def stands_still() -> Iterator[None]:
    """The device reaches no event in the block, as if it waited for another process."""
    _still.append(None)
    try:
        yield
    finally:
        _still.pop()


_still: list[None] = []
# What was sent to the CPU, with the numbers that it had then.
_on_their_way: list[tuple[Tensor, Tensor]] = []


def _wait(what: str) -> None:
    for counts in _counting:
        counts.waits[f"{what} at {_place()}"] += 1


def _place() -> str:
    """The innermost file of gantrain that is being executed."""
    frame = sys._getframe(1)
    while frame is not None:
        _, package, file = frame.f_code.co_filename.rpartition("/gantrain/")
        if package:
            return f"{file}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "a test"


class _Backend(backend_registration._DummyBackendModule):
    """What torch asks a device's module for. Outside of :func:`emulated` there is no such device."""

    present = False

    def is_available(self) -> bool:
        return self.present

    def device_count(self) -> int:
        return int(self.present)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


class _Hook(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return _backend.present

    def has_primary_context(self, _: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


_backend = _Backend()
_libraries: list[torch.library.Library] = []


@contextmanager
def emulated() -> Iterator[torch.device]:
    """The device, for the duration of the block."""
    if not _libraries:
        _set_up()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend, "present", True)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (60 << 30, 80 << 30))
        patch.setattr(Tensor, "pin_memory", lambda tensor, *_: tensor)
        patch.setattr(torch.accelerator, "current_stream", lambda device: _Stream())
        patch.setattr(torch, "Event", _Event)
        clear = torch.clear_autocast_cache
        patch.setattr(torch, "clear_autocast_cache", lambda: (_casts.clear(), clear()))
        patch.setattr(dist, "batch_isend_irecv", _messages)
        for function in (torch.tensor, torch.as_tensor, torch.eye):
            patch.setattr(torch, function.__name__, _then_moved(function))
        # A thread of its own for the device would not know what this thread counts.
        with torch.autograd.set_multithreading_enabled(False):
            yield DEVICE


def _messages(messages: list[dist.P2POp]) -> list[Any]:
    """Messages between processes, of the numbers that the tensors hold; gloo knows no such device."""
    tensors = [m.tensor.inner if isinstance(m.tensor, DeviceTensor) else m.tensor for m in messages]
    return [m.op(t, m.peer, group=m.group, tag=m.tag) for m, t in zip(messages, tensors, strict=True)]


def _then_moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of torch that makes tensors, which cannot write to a device whose operations are in Python."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME:
            return make(*args, device=device, **kwargs)
        return make(*args, **kwargs).to(device)

    return made


def _set_up() -> None:
    global DEVICE
    backend_registration._setup_privateuseone_for_python_backend(NAME, _backend, _Hook())
    DEVICE = torch.device(NAME, 0)
    # Operations that are asked for the device without having a tensor on it, such as torch.empty.
    everything = torch.library.Library("_", "IMPL")
    everything.fallback(_run, "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    ranges = torch.library.Library("aten", "IMPL", "PrivateUse1")
    # torch's own would change the shape of an empty tensor.
    for overload in ("default", "start", "start_step"):
        name = "arange" if overload == "default" else f"arange.{overload}"
        ranges.impl(name, partial(_run, getattr(aten.arange, overload)))
    autocast = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for name in torch._C._dispatch_get_registrations_for_dispatch_key("AutocastCPU"):
        if name.startswith("aten::"):
            op, _, overload = name.removeprefix("aten::").partition(".")
            autocast.impl(name.removeprefix("aten::"), _cast(getattr(getattr(aten, op), overload or "default")))
    _libraries.extend([everything, ranges, autocast])


# The operations that autocast computes in half precision on a CPU, and those in the widest type of their arguments. It
# computes all others that it knows in single precision.
_IN_HALF = {
    *("conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("_convolution", "bmm", "mm", "linalg_vecdot", "baddbmm", "addmm", "addbmm", "linear", "matmul", "prelu"),
    *("scaled_dot_product_attention", "_native_multi_head_attention", "mkldnn_rnn_layer"),
}
_IN_WIDEST = {"stack", "cat", "index_copy"}
# Weights in half precision, kept until autocast ends.
_casts: dict[int, tuple[Tensor, Tensor]] = {}


def _cast(op: Any) -> Callable[..., Any]:
    """The operation under autocast."""
    below = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    name = op._schema.name.removeprefix("aten::")

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(below):
            flat = [t for t in tree_flatten((args, kwargs))[0] if _castable(t)]
            dtype = torch.float32
            if name in _IN_HALF or name in _IN_WIDEST and all(t.dtype != torch.float32 for t in flat):
                dtype = torch.get_autocast_dtype(NAME)
            args, kwargs = tree_map(lambda t: _as(t, dtype) if _castable(t) else t, (args, kwargs))
            return op(*args, **kwargs)

    return kernel


def _castable(t: Any) -> bool:
    return isinstance(t, DeviceTensor) and t.is_floating_point() and t.dtype != torch.float64


def _as(t: DeviceTensor, dtype: torch.dtype) -> Tensor:
    if t.dtype == dtype:
        return t
    if not (t.dtype == torch.float32 and t.requires_grad and t.is_leaf and torch.is_autocast_cache_enabled()):
        return t.to(dtype)
    if id(t) not in _casts:
        _casts[id(t)] = t, t.to(dtype)
    return _casts[id(t)][1]
