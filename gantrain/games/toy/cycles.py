"""Games of two scalars in which limit cycles surround the solution.

Formulas and constants: Pethick et al., Escaping limit cycles, ICLR 2022, and its published notebooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gantrain.games.toy.game import ToyGame

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat


class Forsaken(ToyGame):
    """``f(x, y) = x (y - 0.45) + phi(x) - phi(y)``, ``phi(z) = z^2/4 - z^4/2 + z^6/6``.

    A limit cycle surrounds the solution (0.0780267, 0.4119339). On the square of half side 1.5, ``L = 12.4026``.
    Source: Hsieh, Mertikopoulos and Cevher, The limits of min-max optimization algorithms, example 5.2.

    Args:
        start: the point at which x and y begin.
    """

    solution = (0.0780267, 0.4119339)

    def __init__(self, start: tuple[float, float] = (1.0, -0.8)):
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return y - 0.45 + self._slope(x), self._slope(y) - x

    @staticmethod
    def _slope(z: Tensor) -> Tensor:
        return z / 2 - 2 * z**3 + z**5


class GlobalForsaken(ToyGame):
    """``f(x, y) = x y + phi(x) - phi(y)``, ``phi(z) = z^2/3 - z^4/3 + 2 z^6/21``, on the ball of radius 4/3.

    On the ball ``L = 2.868``, and ``<F z, z - z*> >= rho ||F z||^2`` (weak Minty) with ``rho`` about -0.1197. The game
    does not enforce the ball; for that, give both players together the constraint
    ``constraint: {joint: {name: l2_ball, radius: 1.3333}}``.

    Args:
        start: the point at which x and y begin.
    """

    domain = 4 / 3

    def __init__(self, start: tuple[float, float] = (1.2, 1.2)):
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return y + self._slope(x), -x + self._slope(y)

    @staticmethod
    def _slope(z: Tensor) -> Tensor:
        return 2 * z / 3 - 4 * z**3 / 3 + 4 * z**5 / 7


class PolarGame(ToyGame):
    """``F(x, y) = (t x - y, t y + x)``, ``t = a (s - 1) (16 s - 9) / 16``, ``s = x^2 + y^2``.

    Limit cycles at the radii 1 and 3/4 surround the solution. On the square of half side 1.1, ``L`` = 18.548, 13.938,
    6.306 for ``a`` = 1, 3/4, 1/3, and ``<F z, z - z*> >= rho ||F z||^2`` (weak Minty) with ``rho`` = -0.0477, -0.0358,
    -0.0159.

    Args:
        a: the strength of the radial part of the field.
        start: the point at which x and y begin.
    """

    domain = 1.1

    def __init__(self, a: PositiveFloat = 1 / 3, start: tuple[float, float] = (1.0, 0.5)):
        self.a = a
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        s = x**2 + y**2
        t = self.a * (s - 1) * (16 * s - 9) / 16
        return t * x - y, t * y + x
