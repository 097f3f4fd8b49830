"""Optimizers and learning-rate schedulers, made from their descriptions in a config."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gantrain.config.parts import Part, at_the_end, build, checked, part_arguments, part_name
from gantrain.config.user_code import UserCode, described, is_users, name_of
from gantrain.errors import Notice, UserError
from gantrain.optim.matrices import hidden, matrices
from gantrain.optim.scheduled import ScheduledNumbers
from gantrain.utils.optimizer_groups import options, options_kept
from gantrain.utils.shards import is_shard
from gantrain.utils.tensors import preserve


def make_optimizer(spec: Any, network: nn.Module, key: str = "optimizer") -> Optimizer:
    """The optimizer that ``spec`` describes, over the trainable parameters of ``network``.

    Where torch has a fused implementation for every device, and the spec does not choose between ``fused`` and
    ``foreach``, the fused one is taken: it is the fastest on CPU and on GPU.

    Args:
        spec: a name, a mapping or a validated part.
        network: whose layers tell which parameters are matrices, for Muon and for ``weight_decay_on``.
        key: where the spec stands, for messages.

    Raises:
        UserError: the optimizer does not accept these values; ``key`` says where they stand.
    """
    part = checked("optimizer", spec)
    if not isinstance(part, Part):
        raise UserError(f"{key}: expected a name or a mapping; an optimizer object has parameters of its own")
    parameters: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
    if (last := at_the_end(part)) is not part:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_optimizer(last, network, key)  # which may refuse the last values
    try:
        if "rest" in part_arguments(part):
            return _muon(part, network, parameters, key)
        groups = _decayed(part, network, parameters)
        if _fusible(part, parameters):
            part = part.model_copy(update={"fused": True})
        optimizer = build("optimizer", part, groups, key=key)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{key}: {error}") from error
    if not isinstance(optimizer, Optimizer):
        raise UserError(f"{key}: expected a torch.optim.Optimizer, got {described(optimizer)}")
    with UserCode(key, optimizer):
        optimizer.state_dict()  # which fails where a class of the user's has not called that of torch
    rates = [group.get("lr") for group in optimizer.param_groups]
    if not rates or not all(isinstance(rate, float | int | Tensor) for rate in rates):
        raise UserError(f"{key}: {name_of(optimizer)} has no learning rate; expected a number lr in each of its groups")
    return optimizer


def make_scheduler(spec: Any, optimizer: Optimizer, key: str = "scheduler") -> LRScheduler | None:
    """The scheduler that ``spec`` describes, or None for None; it is stepped once a training step.

    Raises:
        UserError: the scheduler does not accept these values; ``key`` says where they stand.
    """
    if isinstance(spec, LRScheduler):
        raise UserError(f"{key}: expected a name or a mapping; a scheduler object has an optimizer of its own")
    try:
        scheduler = build("scheduler", spec, optimizer, key=key)
    except UserError:
        raise
    except Exception as error:  # torch's raise errors of many classes, also for a division by zero
        raise UserError(f"{key}: {' '.join(str(error).split()) or type(error).__name__}") from error
    if scheduler is not None and not isinstance(scheduler, LRScheduler):
        raise UserError(f"{key}: expected a torch.optim.lr_scheduler.LRScheduler, got {described(scheduler)}")
    return scheduler


def keeps_state(optimizer: Optimizer) -> bool:
    """Whether the optimizer keeps a state from step to step, found by a step that is then undone.

    Args:
        optimizer: an optimizer that has not taken a step yet.
    """
    with _on_trial(optimizer):
        before = options(optimizer)
        optimizer.step()
        return bool(optimizer.state) or options(optimizer) != before


def require_steps(optimizer: Optimizer, numbers: ScheduledNumbers, key: str) -> None:
    """Refuse an optimizer that fails when its numbers have come to the ends of their schedules.

    RMSprop, for example, makes room for a momentum in its first step only. It is found by steps that are then undone.

    Args:
        optimizer: an optimizer that has not taken a step yet.
        numbers: the numbers that follow schedules. They are set back to their first values.
        key: where the optimizer stands in the config, for messages.

    Raises:
        UserError: it fails.
    """
    if optimizer.state or is_users(optimizer) or not numbers:
        return
    with _on_trial(optimizer):
        try:
            optimizer.step()
            numbers.follow(math.inf)
            optimizer.step()
        except Exception as error:
            raise UserError(
                f"{key}: {name_of(optimizer)} fails with the last values of its schedules after a step with the first "
                f"({type(error).__name__}: {error}); choose other first values, or another optimizer"
            ) from error
        finally:
            numbers.follow(0)


def require_sharded_steps(optimizer: Optimizer, key: str) -> None:
    """Refuse an optimizer that cannot move sharded parameters; it is found by a step that is then undone.

    All processes must call this together.

    Args:
        optimizer: an optimizer. One that has taken steps already is not tried.
        key: where the optimizer stands in the config, for messages.

    Raises:
        UserError: it fails.
    """
    if optimizer.state or not any(map(is_shard, _parameters(optimizer))):
        return
    with _on_trial(optimizer):
        try:
            optimizer.step()
        except Exception as error:
            what = " ".join(str(error).split()).partition(".")[0]
            raise UserError(
                f"{key}: {name_of(optimizer)} cannot move parameters that are divided among processes ({what}); use "
                "another optimizer, such as adam or sgd, or run.sharding: none"
            ) from error


@contextmanager
def _on_trial(optimizer: Optimizer) -> Iterator[None]:
    """All gradients are zero in the block, whose steps are undone at its end: weights, gradients, state and options."""
    parameters = _parameters(optimizer)
    with preserve(parameters), options_kept(optimizer):
        for p in parameters:
            p.grad = torch.zeros_like(p)
        try:
            yield
        finally:
            optimizer.zero_grad()
            optimizer.state.clear()


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _muon(part: Part, network: nn.Module, parameters: list[Tensor], key: str) -> Optimizer:
    """Muon over the hidden matrices, and the optimizer that ``part.rest`` describes over all other parameters."""
    rest = part_arguments(part)["rest"]
    if isinstance(rest, Part) and "rest" in part_arguments(rest):
        raise UserError(f"{key}.rest: expected another optimizer than muon, for what muon does not move; use adamw")
    if rest is not None:
        rest = make_optimizer(rest, network, f"{key}.rest")
    matrices = [matrix for matrix in hidden(network) if matrix.parameter.requires_grad]
    if not matrices:
        warnings.warn(
            f"{key}: the network has no weights for muon between its first and its last layer; all of its parameters "
            "go to the optimizer rest",
            Notice,
            stacklevel=3,
        )
    own = {m.parameter for m in matrices}
    groups = [
        {"params": [m.parameter for m in matrices if not m.transposed]},
        {"params": [m.parameter for m in matrices if m.transposed], "transposed": True},
        {"params": [p for p in parameters if p not in own], "rest": True},
    ]
    return build("optimizer", part.model_copy(update={"rest": rest}), groups, key=key)


def _decayed(part: Part, network: nn.Module, parameters: list[Tensor]) -> list[Tensor] | list[dict[str, Any]]:
    """The parameters in groups with weight decay and without, where ``part`` decays only some."""
    if getattr(part, "weight_decay_on", "all") == "all":
        return parameters
    decayed = {matrix.parameter for matrix in matrices(network)}
    spared = [p for p in parameters if p not in decayed]
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p in decayed]}]
    groups.append({"params": spared, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _fusible(part: Part, parameters: Sequence[Tensor]) -> bool:
    settings = part_arguments(part)
    # None is torch's own "not chosen"; false chooses the other implementation.
    chosen = any(settings.get(key) is not None for key in ("foreach", "fused"))
    chosen = chosen or any(settings.get(key) for key in ("differentiable", "capturable"))
    # Of sharded tensors torch fuses no other steps than Adam's, and it fuses Adagrad's on CPUs alone.
    name = part_name(part)
    everywhere = name not in ("adagrad", "torch.optim:Adagrad")
    able = name in ("adam", "adamw") or (everywhere and not any(map(is_shard, parameters)))
    return able and "fused" in settings and not chosen and all(torch.is_floating_point(p) for p in parameters)
