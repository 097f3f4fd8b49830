"""The diagnosis of a game at a point: measurements, and their forms for logs, terminals and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gantrain.analysis.curvature import cohypomonotonicity, lipschitz, path_angles, rotation_share, sharpness
from gantrain.analysis.linearised import Linearised, undisturbed
from gantrain.analysis.spectrum import eigenvalues, extremes
from gantrain.distributed.processes import Processes
from gantrain.games.base import Game

# The places on the path to a later point at which its angle is measured. The path is prolonged at both ends by half of
# its length.
PATH_PLACES = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
_ORDERS: tuple[Literal["LM", "LI"], ...] = ("LM", "LI")


@dataclass(frozen=True)
class Sample:
    """The values of one quantity on several batches; ``nan`` for a batch on which it could not be measured."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the finite values; ``nan`` if there are none."""
        return float(np.mean(self._finite)) if self._finite else math.nan

    @property
    def spread(self) -> float:
        """The standard deviation over the batches; 0 for a single batch."""
        return float(np.std(self._finite, ddof=1)) if len(self._finite) > 1 else 0.0

    @property
    def least(self) -> float:
        """The smallest finite value; ``nan`` if there are none."""
        return min(self._finite, default=math.nan)

    @property
    def most(self) -> float:
        """The largest finite value; ``nan`` if there are none."""
        return max(self._finite, default=math.nan)

    @property
    def _finite(self) -> list[float]:
        return [v for v in self.values if math.isfinite(v)]

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.spread:.2g}  ({self.least:.4g} to {self.most:.4g})"


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of a game at a point.

    Attributes:
        size: the number of parameters of all players.
        jacobian: complex eigenvalues of the Jacobian on the first batch: those largest in modulus, and those with the
            largest imaginary parts.
        hessians: for each player the largest and smallest eigenvalues of its own Hessian on the first batch, ascending.
        rotation: :func:`~gantrain.analysis.curvature.rotation_share`.
        lipschitz: :func:`~gantrain.analysis.curvature.lipschitz`.
        rho: :func:`~gantrain.analysis.curvature.cohypomonotonicity`.
        sharpness: for each player its :func:`~gantrain.analysis.curvature.sharpness`.
        radius: the radius of the sharpness.
        products: the number of Jacobian-vector products that the diagnosis took.
        angles: the cosine at each place on the path to a later point; empty if there is no later point.
    """

    size: int
    jacobian: np.ndarray
    hessians: Mapping[str, np.ndarray]
    rotation: Sample
    lipschitz: Sample
    rho: Sample
    sharpness: Mapping[str, Sample]
    radius: float
    products: int
    angles: Mapping[float, float] = field(default_factory=dict)

    @property
    def scalars(self) -> dict[str, float]:
        """The numbers for a log, by name; eigenvalues that did not converge are left out."""
        values = {
            "rotation_share": self.rotation.mean,
            "rotation_share/spread": self.rotation.spread,
            "lipschitz": self.lipschitz.mean,
            "lipschitz/spread": self.lipschitz.spread,
            "rho": self.rho.mean,
            "rho/spread": self.rho.spread,
        }
        if len(self.jacobian):
            values["jacobian/largest_modulus"] = float(np.abs(self.jacobian).max())
            values["jacobian/largest_imaginary"] = float(np.abs(self.jacobian.imag).max())
        for name, ends in self.hessians.items():
            if len(ends):
                values[f"hessian/{name}/largest"] = float(ends[-1])
                values[f"hessian/{name}/smallest"] = float(ends[0])
        for name, sample in self.sharpness.items():
            values[f"sharpness/{name}"] = sample.mean
            values[f"sharpness/{name}/spread"] = sample.spread
        return {f"diagnose/{name}": value for name, value in values.items()}

    @property
    def lines(self) -> list[str]:
        """The numbers as lines for a terminal."""
        rows = {
            "share of rotation": str(self.rotation),
            "L, largest stretching": str(self.lipschitz),
            "rho, where the steps go": str(self.rho),
            **{f"sharpness, {name}": f"{s}  within {self.radius:g}" for name, s in self.sharpness.items()},
            "eigenvalues, Jacobian": _listed(self.jacobian),
            **{f"eigenvalues, {name}": _listed(ends[::-1]) for name, ends in self.hessians.items()},
        }
        if self.angles:
            rows["along the path"] = ", ".join(f"{t:g}: {cosine:.2f}" for t, cosine in self.angles.items())
        width = max(map(len, rows))
        return [f"{name:<{width}}  {value}" for name, value in rows.items()]

    def as_dict(self) -> dict[str, Any]:
        """The measurements as nested dicts that JSON can write; a number that could not be measured is None."""
        samples = {"rotation_share": self.rotation, "lipschitz": self.lipschitz, "rho": self.rho}
        samples |= {f"sharpness/{name}": sample for name, sample in self.sharpness.items()}
        return {
            "parameters": self.size,
            "products": self.products,
            "radius": self.radius,
            "jacobian": [[float(v.real), float(v.imag)] for v in self.jacobian],
            "hessians": {name: ends.tolist() for name, ends in self.hessians.items()},
            "batches": {name: [v if math.isfinite(v) else None for v in s.values] for name, s in samples.items()},
            "angles": [[t, cosine if math.isfinite(cosine) else None] for t, cosine in self.angles.items()],
        }


def diagnose(
    game: Game,
    batches: Callable[[int], Any],
    number: int = 3,
    count: int = 4,
    radius: float = 0.05,
    later: Mapping[str, Sequence[Tensor]] | None = None,
    processes: Processes | None = None,
) -> Diagnosis:
    """Measure a game at its current point, in evaluation mode, and leave everything as it was.

    Args:
        game: the game.
        batches: returns the i-th batch, the same one at each call.
        number: the number of batches.
        count: the number of eigenvalues of each kind.
        radius: the radius of the sharpness, in units of the parameters' norm.
        later: a later point, as in :func:`~gantrain.analysis.curvature.path_angles`.
        processes: the processes that share the measurements, all of which call this with the same arguments and get the
            same diagnosis: that of one process. None (the default) for this process alone.
    """
    processes = processes or Processes()
    work = _Work(game, count, radius, later)
    found: dict[tuple[str, int], Any] = {}
    with processes.all_work(), undisturbed(game):
        mine = work.measurements(number)[processes.rank :: processes.group_size]
        for index in sorted({index for _, index in mine}):
            names = [name for name, of in mine if of == index]
            found |= {(name, index): value for name, value in work.measure(batches(index), index, names).items()}
    gathered = processes.gather((found, work.products))
    found = {key: value for each, _ in gathered for key, value in each.items()}

    def sample(name: str) -> Sample:
        return Sample(tuple(found[name, index] for index in range(number)))

    hessians = {name: found[f"hessian/{name}", 0] for name in game.players}
    return Diagnosis(
        size=sum(p.numel() for player in game.players.values() for p in player.parameters),
        jacobian=_spectrum(hessians, [found[f"jacobian/{order}", 0] for order in _ORDERS if len(hessians) > 1]),
        hessians=hessians,
        rotation=sample("rotation"),
        lipschitz=sample("lipschitz"),
        rho=sample("rho"),
        sharpness={name: sample(f"sharpness/{name}") for name in game.players},
        radius=radius,
        products=sum(products for _, products in gathered),
        angles=found.get(("angles", 0), {}),
    )


class _Work:
    """The measurements of a diagnosis, each of which is a function of the game's point and of one batch.

    Args:
        game: the game.
        count: the number of eigenvalues of each kind.
        radius: the radius of the sharpness.
        later: a later point; None for none.

    Attributes:
        products: the number of products computed so far.
    """

    def __init__(self, game: Game, count: int, radius: float, later: Mapping[str, Sequence[Tensor]] | None):
        self.game = game
        self.count = count
        self.radius = radius
        self.later = later
        self.products = 0
        # Those that change parameters, and must not have a graph beside them.
        self._moving: dict[str, Callable[[Any], Any]] = {
            f"sharpness/{name}": partial(self._sharpness, name) for name in game.players
        }
        self._moving["angles"] = self._angles
        self._spectra: dict[str, Callable[[Linearised], np.ndarray]] = {}
        if len(game.players) > 1:
            self._spectra |= {f"jacobian/{order}": partial(self._jacobian, order) for order in _ORDERS}
        self._spectra |= {f"hessian/{name}": partial(self._hessian, name) for name in game.players}

    def measurements(self, number: int) -> list[tuple[str, int]]:
        """The names of all measurements on ``number`` batches with the numbers of the batches: the longest first, so
        that processes that take turns have about the same to do."""
        names = ["lipschitz", *(name for name in self._moving if name != "angles"), "rho", "rotation"]
        first = [(name, 0) for name in self._spectra]
        last = [] if self.later is None else [("angles", 0)]
        return [*first, *((name, index) for name in names for index in range(number)), *last]

    def measure(self, batch: Any, index: int, names: Sequence[str]) -> dict[str, Any]:
        """Some of the measurements on the batch of number ``index``, by their names.

        Networks that draw noise draw the same in each measurement, wherever it is made.
        """
        found: dict[str, Any] = {}
        for name in names:
            if name in self._moving:
                torch.manual_seed(index)
                found[name] = self._moving[name](batch)
        rotation = partial(rotation_share, probes=4, seed=index)
        linear: dict[str, Callable[[Linearised], Any]] = {
            "lipschitz": lipschitz,
            "rho": cohypomonotonicity,
            "rotation": rotation,
            **self._spectra,
        }
        if any(name in linear for name in names):
            torch.manual_seed(index)
            here = Linearised(self.game, batch)
            found |= {name: linear[name](here) for name in names if name in linear}
            self.products += here.products
        return found

    def _sharpness(self, player: str, batch: Any) -> float:
        return sharpness(self.game, player, batch, self.radius)

    def _angles(self, batch: Any) -> dict[float, float]:
        assert self.later is not None  # or it is no measurement
        return dict(zip(PATH_PLACES, path_angles(self.game, batch, self.later, PATH_PLACES), strict=True))

    def _jacobian(self, which: Literal["LM", "LI"], here: Linearised) -> np.ndarray:
        # The transpose has the same eigenvalues, and its products cost less.
        return eigenvalues(here.transposed, here.value, self.count, which, restarts=3)

    def _hessian(self, player: str, here: Linearised) -> np.ndarray:
        return extremes(partial(here.hessian, player), here.value[here.slices[player]], self.count, restarts=3)


def _spectrum(hessians: Mapping[str, np.ndarray], found: Sequence[np.ndarray]) -> np.ndarray:
    """The eigenvalues largest in modulus and in imaginary part, each once; with one player those of its Hessian."""
    if len(hessians) == 1:
        return next(iter(hessians.values())).astype(complex)[::-1]
    distinct: list[complex] = []
    for value in np.concatenate(found):
        if all(abs(value - other) > 1e-3 * abs(value) for other in distinct):
            distinct.append(value)
    return np.array(distinct, complex)


def _listed(values: np.ndarray) -> str:
    if not len(values):
        return "none converged"
    return "  ".join(_number(v) for v in values if v.imag >= 0)


def _number(value: complex) -> str:
    return f"{value.real:.4g} ± {value.imag:.4g}i" if value.imag else f"{value.real:.4g}"
