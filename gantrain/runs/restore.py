"""Loading the parts of a checkpoint into the objects that they were saved from, once it is known that they fit."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gantrain.config.user_code import is_users
from gantrain.errors import UserError
from gantrain.utils.nested import Maybe
from gantrain.utils.shards import is_shard, shard_like
from gantrain.utils.tensors import tree_to

_ADVICE = (
    "the checkpoint is of another network; take the config and the code that it was trained with, or train another run "
    "(run.name=NEW)"
)
_OTHER = (
    "the checkpoint does not fit this run; take the config and the code that it was trained with, an older checkpoint, "
    "or train another run (run.name=NEW)"
)


class Restorable(Protocol):
    """What gives its state, and takes it back."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def part_of(state: Mapping[str, Any], name: str, folder: Path) -> Any:
    """The part ``name`` of the state of the checkpoint in ``folder``.

    Raises:
        UserError: the checkpoint has no such part.
    """
    if name not in state:
        raise UserError(f"{folder}: expected a part {name}, found {', '.join(state)}; {_ADVICE}")
    return state[name]


def restore(module: nn.Module, state: Mapping[str, Any], name: str, folder: Path) -> None:
    """Load the part ``name`` of a checkpoint's state into ``module``; nothing is loaded if a tensor does not fit.

    Args:
        module: a network.
        state: the state of the checkpoint.
        name: the name of the part: that of a player.
        folder: the folder of the checkpoint, which messages name.

    Raises:
        UserError: a tensor is missing, unknown, or has another shape or type. The message names the first such tensor.
    """
    saved, own = part_of(state, name, folder), module.state_dict()
    if not isinstance(saved, dict):
        raise UserError(f"{folder}: {name}: expected tensors by name, found {_described(saved)}; {_ADVICE}")
    wrong = [key for key in dict.fromkeys((*own, *saved)) if _described(saved.get(key)) != _described(own.get(key))]
    if wrong:
        key, more = wrong[0], len(wrong) - 1
        in_checkpoint, in_network = (
            f"has the {_described(t[key])}" if key in t else "is missing" for t in (saved, own)
        )
        others = f" ({more} other{'s' if more > 1 else ''} differ{'s' if more == 1 else ''} as well)" if more else ""
        raise UserError(
            f"{folder}/{name}.safetensors: {key} {in_checkpoint}, and in the network it {in_network}{others}; {_ADVICE}"
        )
    module.load_state_dict({key: shard_like(t, own[key]) for key, t in saved.items()})


def restore_part(
    part: Restorable, state: Mapping[str, Any], name: str, folder: Path, form: Any, device: torch.device | None = None
) -> None:
    """Load the part ``name`` of a checkpoint's state into an object, if it has the form that the object expects.

    Args:
        part: the object.
        state: the state of the checkpoint.
        name: the name of the part.
        folder: the folder of the checkpoint, which messages name.
        form: see :func:`require_fit`; whole numbers count something.
        device: where the tensors are put; by default they stay where they are.

    Raises:
        UserError: the part is missing or does not fit. The message names the first key that does not.
    """
    saved = part_of(state, name, folder)
    require_fit(saved, form, name, folder, counts=True)
    with _explaining(name, folder):
        saved = _divided(saved, form)
        part.load_state_dict(saved if device is None else tree_to(saved, device))


def restore_optimizer(optimizer: Optimizer, state: Mapping[str, Any], name: str, folder: Path) -> None:
    """Load the part ``name`` of a checkpoint's state into an optimizer, if it is the state of such an optimizer.

    Raises:
        UserError: the part is missing or does not fit. The message names the first key that does not.
    """
    saved, own = part_of(state, name, folder), optimizer.state_dict()
    require_fit(saved, {"state": None, "param_groups": None}, name, folder)
    saved = _divided_state(saved, optimizer)
    twin = _twin(optimizer)
    with _explaining(name, folder):
        # A twin loads it first, since optimizers add keys of groups that are newer than the checkpoint.
        twin.load_state_dict(copy.deepcopy(saved))
    groups = twin.state_dict()["param_groups"]
    require_fit(groups, own["param_groups"], f"{name}.param_groups", folder)
    for number, (group, ours) in enumerate(zip(saved["param_groups"], own["param_groups"], strict=True)):
        if not all(isinstance(each, int) for each in group["params"]) or list(group["params"]) != ours["params"]:
            raise UserError(f"{folder}: {name}.param_groups.{number}.params: not those of the optimizer; {_OTHER}")
    # A user's own may keep a state that differs from step to step.
    form = None if is_users(optimizer) else _form_of_state(optimizer)
    if form is not None:
        if _misfit(saved["state"], _perhaps(form), "", False) is not None:
            # With the numbers of the checkpoint, which may follow schedules, the optimizer may keep something else.
            form = _form_of_state(twin) or form
        require_fit(saved["state"], _perhaps(form), f"{name}.state", folder)
        with _explaining(name, folder):
            type(twin).step(twin)
    with _explaining(name, folder):
        optimizer.load_state_dict(saved)


def restore_scheduler(scheduler: LRScheduler, state: Mapping[str, Any], name: str, folder: Path) -> None:
    """Load the part ``name`` of a checkpoint's state into a scheduler, if it is the state of such a scheduler.

    Raises:
        UserError: the part is missing or does not fit. The message names the first key that does not.
    """
    saved, own = part_of(state, name, folder), scheduler.state_dict()
    if isinstance(saved, dict):
        # What torch keeps for itself differs between its versions; a scheduler goes on without it.
        private = {key for key in own.keys() ^ saved.keys() if str(key).startswith("_")} | {"verbose"}
        private -= {"_step_count", "_last_lr"}
        saved = {key: value for key, value in saved.items() if key not in private}
        own = {key: value for key, value in own.items() if key not in private}
    require_fit(saved, own, name, folder)
    with _explaining(name, folder):
        scheduler.load_state_dict(saved)


def require_fit(saved: Any, form: Any, name: str, folder: Path, counts: bool = False) -> None:
    """Check that a tree of a checkpoint is like another tree in keys, lengths, types and the shapes of tensors.

    Args:
        saved: the tree of the checkpoint.
        form: the other tree. A :class:`~gantrain.utils.nested.Maybe` in it stands for its value or for None; None
            stands for anything, and what is empty may be missing.
        name: the name of the tree.
        folder: the folder of the checkpoint, which messages name.
        counts: whether whole numbers count something, and thus are not negative.

    Raises:
        UserError: the trees differ. The message names the first key where they do.
    """
    found = _misfit(saved, form, name, counts)
    if found is not None:
        raise UserError(f"{folder}: {found}; {_OTHER}")


def _divided(saved: Any, form: Any) -> Any:
    """The tree with the tensors divided among the processes that are divided in ``form``; each keeps its own rows."""
    form = form.value if isinstance(form, Maybe) else form
    if isinstance(saved, Tensor) and isinstance(form, Tensor):
        return shard_like(saved, form)
    if isinstance(saved, Mapping) and isinstance(form, Mapping):
        return {key: _divided(value, form.get(key)) for key, value in saved.items()}
    if isinstance(saved, (list, tuple)) and isinstance(form, (list, tuple)) and len(saved) == len(form):
        return type(saved)(_divided(a, b) for a, b in zip(saved, form, strict=True))
    return saved


def _divided_state(saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimizer with what is shaped as a parameter divided as the parameter is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not isinstance(saved["state"], Mapping) or not any(map(is_shard, parameters)):
        return saved
    state = {}
    for number, each in saved["state"].items():
        p = parameters[number] if isinstance(number, int) and number < len(parameters) else None
        form = {key: p for key, t in each.items() if p is not None and isinstance(t, Tensor) and t.shape == p.shape}
        state[number] = _divided(each, form)
    return {**saved, "state": state}


def _misfit(saved: Any, form: Any, place: str, counts: bool) -> str | None:
    if isinstance(form, Maybe):
        if saved is None:
            return None
        form = form.value
    if form is None:
        return None
    if isinstance(form, Mapping) and isinstance(saved, Mapping):
        for key in dict.fromkeys((*form, *saved)):
            if key not in saved and not _empty(form[key]):
                return f"{place}.{key} is missing"
            if key not in form and not _empty(saved[key]):
                return f"{place}.{key} is unknown"
        shared = [(saved[key], form[key], f"{place}.{key}") for key in form if key in saved]
    elif isinstance(form, (list, tuple)) and isinstance(saved, (list, tuple)) and len(saved) == len(form):
        shared = [(a, b, f"{place}.{i}") for i, (a, b) in enumerate(zip(saved, form, strict=True))]
    elif _fits(saved, form, counts):
        return None
    else:
        return f"{place}: expected the {_described(form)}, found the {_described(saved)}"
    return next((found for each in shared if (found := _misfit(*each, counts)) is not None), None)


def _fits(saved: Any, form: Any, counts: bool) -> bool:
    """Whether a leaf of a tree is like another."""
    if isinstance(form, Mapping | list | tuple):
        return False
    if isinstance(form, Tensor):
        return _described(saved) == _described(form)
    if isinstance(form, bool):
        return saved is None or isinstance(saved, bool)  # None leaves the choice to torch, as in fused: null
    if isinstance(form, int | float):
        whole = counts and isinstance(form, int)
        if isinstance(saved, bool) or not isinstance(saved, int if whole else (int, float)):
            return False
        return not whole or saved >= 0
    return type(saved) is type(form)


def _empty(value: Any) -> bool:
    return value is None or isinstance(value, Maybe) or isinstance(value, (Mapping, list, tuple)) and not value


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple)):
        return f"type {type(value).__name__} of {len(value)}"
    shown = f" {value}" if isinstance(value, int | float) else ""
    return f"type {type(value).__name__}{shown}"


def _twin(optimizer: Optimizer) -> Optimizer:
    """An optimizer of the same kind, without a state, that moves zeros which have zero gradients."""
    memo: dict[int, Any] = {id(optimizer.state): defaultdict(dict)}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            twin = nn.Parameter(torch.zeros_like(parameter))
            twin.grad = torch.zeros_like(twin)
            memo[id(parameter)] = twin
    return copy.deepcopy(optimizer, memo)


def _perhaps(form: Mapping[Any, Any]) -> dict[Any, Maybe]:
    """The form of a state in which a parameter that never had a gradient has none."""
    return {key: Maybe(each) for key, each in form.items()}


def _form_of_state(optimizer: Optimizer) -> dict[Any, Any] | None:
    """The state of an optimizer after a step in which all parameters had a gradient; None where that is not known."""
    twin = _twin(optimizer)
    try:
        type(twin).step(twin)
        return dict(twin.state_dict()["state"])
    except Exception:
        # An optimizer may need more than gradients, as LBFGS needs a closure. It says itself what it refuses.
        return None


@contextmanager
def _explaining(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # Anything may come from parts that were given what is not theirs.
        what = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: {name}: cannot be loaded: {type(error).__name__}: {what}; {_OTHER}") from error
