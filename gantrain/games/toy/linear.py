"""Games of two scalars whose vector field is linear: rotation, and rotation with expansion.

Formulas and constants: Pethick et al., Escaping limit cycles, ICLR 2022, and its published notebooks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from gantrain.errors import UserError
from gantrain.games.toy.game import ToyGame

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, PositiveFloat


class Bilinear(ToyGame):
    """``f(x, y) = coupling (x - centre) (y - centre)``: rotation alone. ``L = coupling``, ``rho = 0``.

    Args:
        coupling: the speed of the rotation.
        centre: the value of both coordinates of the solution.
        start: the point at which x and y begin.
    """

    def __init__(self, coupling: float = 1.0, centre: float = 0.0, start: tuple[float, float] = (1.0, 1.0)):
        self.coupling = coupling
        self.solution = (centre, centre)
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.coupling * (y - self.solution[1]), -self.coupling * (x - self.solution[0])


class Quadratic(ToyGame):
    """``f(x, y) = a x y + (b/2) x^2 - (b/2) y^2`` with prescribed constants of ``F``.

    ``b = rho L^2`` and ``a = sqrt(L^2 - rho^2 L^4)`` give ``F`` exactly the Lipschitz constant ``L`` and the
    cohypomonotonicity ``rho`` (``<F z - F z', z - z'> = rho ||F z - F z'||^2``).

    Args:
        lipschitz: the Lipschitz constant L.
        rho: the cohypomonotonicity, between -1/L and 1/L; with a negative value the game is nonmonotone.
        start: the point at which x and y begin.

    Raises:
        UserError: ``|rho| L > 1``.
    """

    def __init__(self, lipschitz: PositiveFloat = 1.0, rho: float = -0.1, start: tuple[float, float] = (1.0, 1.0)):
        if abs(rho) * lipschitz > 1:
            raise UserError(f"quadratic: |rho| must be at most 1/lipschitz = {1 / lipschitz:g}, got {rho:g}")
        self.b = rho * lipschitz**2
        self.a = math.sqrt(lipschitz**2 - self.b**2)
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.a * y + self.b * x, self.b * y - self.a * x


class LowerBound(Quadratic):
    """The quadratic game with ``rho = -c / L``, on which the range of EG+ is tight.

    At ``gamma = 1/L`` EG+ converges if and only if ``lambda < 1 - 2 c``. For ``c >= 1/2``, that is
    ``rho <= -1/(2L)``, EG+ therefore converges with no relaxation at all. With the default constants
    ``f(x, y) = sqrt(8) x y - x^2 / 2 + y^2 / 2``. Source: Pethick et al., ICLR 2022, theorem 3.4.

    Args:
        lipschitz: the Lipschitz constant L.
        c: the strength of the nonmonotonicity, between 0 and 1.
        start: the point at which x and y begin.
    """

    domain = 1.1

    def __init__(self, lipschitz: PositiveFloat = 3.0, c: Fraction = 1 / 3, start: tuple[float, float] = (1.0, 0.5)):
        super().__init__(lipschitz, -c / lipschitz, start)
