"""Averages of a network's weights, to sample from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantrain.config.base import one_of
from gantrain.config.clock import Clock
from gantrain.config.schedules import ended
from gantrain.config.sections import AVERAGED, AverageName
from gantrain.config.types import Period
from gantrain.distributed.sharding import copied
from gantrain.utils.tensors import copy_, lerp_from_

if TYPE_CHECKING:
    from gantrain.config.types import Interval

_NEW = Clock()
# Which numbers a setting may be.
_BOUNDS: dict[str, tuple[Callable[[float], bool], str]] = {
    "decay": (lambda value: 0 <= value <= 1, "a number in [0, 1]"),
    "half_life_kimg": (lambda value: value >= 0, "a number of at least 0"),
    "ramp": (lambda value: value > 0, "a number above 0"),
}
# Where a tensor of a module is found: a module may hold another tensor there later.
Place = tuple[dict[str, Any], str]


class EMA:
    """A copy of ``module`` whose parameters are an average of the module's over the training steps.

    It is taken in one of three ways. Let ``θ_t`` be the module's parameters after step ``t``.

    By a **decay**: ``e_{n+1} = d_n e_n + (1 - d_n) θ_{n+1}`` with ``d_n = min(decay, (1 + n) / (10 + n))`` and
    ``e_1 = θ_1``. The growing ``d_n`` lets early weights be forgotten while there are few of them; the initial ones
    never count.

    By a **half-life**, counted in images: ``e_t = β e_{t-1} + (1 - β) θ_t`` with ``e_0 = θ_0`` and

        ``β = 0.5^(B / min(1000 half_life_kimg, ramp · images))``

    for a step that draws ``B`` images after a number of ``images`` in the steps before it, as in StyleGAN2-ADA. A
    half-life of 0 gives ``β = 0``, and thus the live weights; so does the first step of an average with a ramp.

    **Uniform**: ``e_t = 1 / (t - s) Σ_{i = s+1 … t} θ_i``, where ``s`` is the first step at which the time ``start``
    has come, by default 0. Until then ``e_t = θ_t``.

    An average of outer iterates (``of="outer_iterate"``) moves only at a step that completes an outer step. There its
    ``t`` and ``n`` count outer iterates: by a decay it is the usual average of Lookahead's slow weights, and uniform
    it is the mean of ``z_1, z_2, …``. In a half-life ``B`` are the images since the last outer iterate. With
    ``start`` those outer iterates count that are reached by a step after that time.

    Running statistics of batch norm are averaged like the parameters: the mean activation is linear in a layer's
    weights, so it is the averaged statistics that fit averaged weights. All other buffers are copied, for the average
    of two unit vectors of spectral norm is no unit vector and that of two counters no counter.

    An update takes one operation for each data type, and the program does not wait for the device. (torch's
    ``AveragedModel`` sends its counter to the device at each update, and waits for that.)

    Args:
        module: the network that is averaged; it is not changed.
        decay: in [0, 1]; 0.999 remembers about a thousand updates. Exactly one of decay, half_life_kimg and uniform
            must be given.
        half_life_kimg: the half-life in thousands of images, at least 0.
        ramp: the largest share of the images so far that the half-life may be, above 0; None for no bound.
        uniform: whether the average is uniform.
        start: the time from which a uniform average counts: a number of training steps, ``{"kimg": 10}`` or
            ``{"gradients": 500}``. None for the beginning.
        of: "live": the weights that are trained; "anchor": those of the outer loop's last outer iterate;
            "outer_iterate": each outer iterate once.
        name: the name of the average, in checkpoints and logs.

    Attributes:
        module: the averaged copy, in evaluation mode and without gradients.
        source: the network that is averaged.
        updates: the number of updates that count.
        decay, half_life_kimg, ramp: the settings; they are read at each update.

    Raises:
        ValueError: not exactly one of decay, half_life_kimg and uniform is given, or a setting is not what was
            expected; of a schedule both its ends count.

    Examples:
        >>> import torch
        >>> network = torch.nn.Linear(1, 1)
        >>> average = EMA(network, decay=0.999)
        >>> average.update()
        >>> torch.equal(average.module.weight, network.weight)
        True
    """

    def __init__(
        self,
        module: nn.Module,
        decay: float | None = None,
        *,
        half_life_kimg: float | None = None,
        ramp: float | None = None,
        uniform: bool = False,
        start: Interval | None = None,
        of: Literal["live", "anchor", "outer_iterate"] = "live",
        name: str = "ema",
    ):
        if (decay is not None) + (half_life_kimg is not None) + uniform != 1:
            raise ValueError("expected exactly one of decay, half_life_kimg and uniform")
        for key, number in {"decay": decay, "half_life_kimg": half_life_kimg, "ramp": ramp}.items():
            fits, expected = _BOUNDS[key]
            for value in (number, ended(number)):
                if value is not None and not fits(value):
                    raise ValueError(f"{key}: expected {expected}, got {value:g}")
        if ramp is not None and half_life_kimg is None:
            raise ValueError("ramp: goes with half_life_kimg; leave it out")
        if start is not None and not uniform:
            raise ValueError("start: goes with uniform; leave it out")
        if of not in AVERAGED:
            raise ValueError(f"of: expected {one_of(AVERAGED)}, got {of!r}")
        for key, given, kind in (("name", name, AverageName()), ("start", 1 if start is None else start, Period())):
            try:
                kind.validate(given)
            except PydanticCustomError as error:
                raise ValueError(f"{key}: {error.message()}") from None
        self.decay = decay
        self.half_life_kimg = half_life_kimg
        self.ramp = ramp
        self.uniform = uniform
        self.start = start
        self.of = of
        self.name = name
        self.updates = 0
        self._images = 0  # since the last outer iterate
        self.source = module
        self.module = copied(module).requires_grad_(False).eval()
        self._own, self._source = _divided(self.module), _divided(module)

    def update(
        self,
        now: Clock = _NEW,
        since: Clock = _NEW,
        anchor: Mapping[int, Tensor] = MappingProxyType({}),
        complete: bool = True,
    ) -> None:
        """Take the module's present weights into the average.

        Args:
            now: the clock after the step. An average by a decay, and a uniform one without ``start``, need no clock.
            since: the clock before the step.
            anchor: the tensors that stand in for tensors of the module, by their ``id``.
            complete: whether the present weights are an outer iterate; an average of those passes over others.
        """
        images = now.images - since.images
        if self.of == "outer_iterate":
            self._images += images
            if not complete:
                return
            images, self._images = self._images, 0
        averaged, copied = map(_at, self._own)
        present, others = map(_at, self._source)
        copy_(copied, others)
        present = [anchor.get(id(t), t) for t in present] if anchor else present
        kept = self._kept(now.images - images, images)
        if kept == 0.0:
            copy_(averaged, present)
        else:
            lerp_from_(averaged, present, kept)
        if self.start is None or since.count(self.start):
            self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged module's state dict and the number of updates that count, ``n_averaged``.

        An average of outer iterates has the number of images since the last one, too, ``n_images``.
        """
        more = {"n_images": self._images} if self.of == "outer_iterate" else {}
        return {**self.module.state_dict(), "n_averaged": self.updates, **more}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self.updates = int(state.pop("n_averaged"))
        self._images = int(state.pop("n_images", 0))
        self.module.load_state_dict(state)

    def _kept(self, before: int, images: int) -> float:
        """The share of the average that the next update keeps, after so many images before and since the last one."""
        n = self.updates
        if self.half_life_kimg is not None:
            bound = math.inf if self.ramp is None else self.ramp * before
            half_life = min(1000 * self.half_life_kimg, bound)
            return 0.5 ** (images / half_life) if half_life > 0 else 0.0
        if self.decay is not None:
            return min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        return n / (n + 1)


def average_part(name: str) -> str:
    """The name of the part of a checkpoint that holds an average."""
    return name if name == "ema" else f"ema.{name}"


@torch.no_grad()
def with_tensors(module: nn.Module, others: Mapping[int, Tensor]) -> nn.Module:
    """A copy of a module in which some parameters and buffers have other values.

    Args:
        module: the module, which is not changed.
        others: the other values by the ``id`` of the module's tensors.
    """
    twin = copied(module)
    for t, own in zip((*module.parameters(), *module.buffers()), (*twin.parameters(), *twin.buffers()), strict=True):
        own.copy_(others.get(id(t), t))
    return twin


def _divided(module: nn.Module) -> tuple[list[Place], list[Place]]:
    """The places of the tensors of a module that are averaged, and of those that are copied."""
    averaged: list[Place] = []
    copied: list[Place] = []
    seen = set()
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, t in tensors.items():
                if t is not None and id(t) not in seen:
                    seen.add(id(t))
                    mean = tensors is part._parameters or isinstance(part, _BatchNorm)
                    numbers = t.is_floating_point() or t.is_complex()
                    (averaged if mean and numbers else copied).append((tensors, name))
    return averaged, copied


def _at(places: Sequence[Place]) -> list[Tensor]:
    return [tensors[name] for tensors, name in places]
