"""Wilson's plaquette actions in three and four dimensions at strong coupling: log Z and the mean plaquette, with an uncertainty.

The Boltzmann factor of a plaquette is c_0 (1 + sum_r d_r u_r chi_r(P)), u_r = c_r / c_0 (`exact` has the coefficients). What is left of the
product over all plaquettes after the integral over links are closed surfaces (Drouffe and Zuber, Phys. Rept. 102, 1983; Montvay and
Muenster, section 3.4), and with V sites in d dimensions

    log Z = P log c_0 + V C(d, 3) sum_r d_r^2 u_r^6                               the elementary cubes
          + V n_2 [ sum_f d_f^2 u_f^10 + sum_f d_f^3 u_f^11 (SU(3) alone) ]       two cubes with a common face
          + sum over planes (V / L_1 L_2) sum_f u_f^(L_1 L_2) + O(u^12),          sheets around the torus

f the fundamental representation and its conjugate where that is another one, n_2 = 6, 36 in d = 3, 4. In the second term of the second line the
common face carries f too: three characters meet at its boundary, and 3 x 3 holds the conjugate of 3. The size of that line is
taken for the uncertainty: what is left out is smaller by u times a number of order 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .exact import group_of, log_coefficients
from ..v1 import model_pb2

__all__ = ["StrongCoupling", "strong_coupling"]

_NEIGHBOURING_CUBES = {3: 3, 4: 36}
_LARGEST_SHARE = 0.1  # of the second line in the first: beyond, the series says nothing


@dataclass(frozen=True)
class StrongCoupling:
    """A gauge theory on a lattice."""

    colours: int  # 1: U(1)
    beta: float
    shape: tuple[int, ...]

    def _parts(self, beta: float) -> tuple[float, float, float]:
        """log Z without surfaces, what cubes and sheets add, what pairs of cubes add."""
        group = group_of(self.colours)
        c, shift = log_coefficients(group, np.array([complex(beta)]))
        c = c[0].real
        trivial = int(np.flatnonzero(np.all(np.abs(group.characters - 1) < 1e-9, axis=1))[0])
        u = np.delete(c / c[trivial], trivial)
        dims = np.delete(group.dimension, trivial)
        fundamental = group.raised[trivial][0]
        u_f, d_f = float(c[fundamental] / c[trivial]), float(group.dimension[fundamental])
        kinds = 1 if self.colours == 2 else 2  # f and its conjugate
        d, v = len(self.shape), math.prod(self.shape)
        bare = v * math.comb(d, 2) * (math.log(c[trivial]) + float(shift[0].real))
        sheets = sum(v / (a * b) * kinds * u_f ** (a * b) for i, a in enumerate(self.shape) for b in self.shape[i + 1:])
        cubes = v * math.comb(d, 3) * float(np.sum(dims**2 * u**6)) + sheets
        pairs = v * _NEIGHBOURING_CUBES[d] * kinds * (d_f**2 * u_f**10 + (d_f**3 * u_f**11 if self.colours == 3 else 0.0))
        return bare, cubes, pairs

    @property
    def plaquettes(self) -> int:
        return math.prod(self.shape) * math.comb(len(self.shape), 2)

    @property
    def converges(self) -> bool:
        _, cubes, pairs = self._parts(self.beta)
        return pairs <= _LARGEST_SHARE * cubes

    def log_z(self) -> tuple[float, float]:
        """The value and its uncertainty."""
        bare, cubes, pairs = self._parts(self.beta)
        return bare + cubes + pairs, pairs

    def plaquette(self) -> tuple[float, float]:
        """<Re tr P / N> = d log Z / d beta over the number of plaquettes, and its uncertainty."""
        step = 1e-3 * max(self.beta, 1e-2)
        up, down = self._parts(self.beta + step), self._parts(self.beta - step)
        slopes = [(a - b) / (2 * step * self.plaquettes) for a, b in zip(up, down, strict=True)]
        return sum(slopes), abs(slopes[2])


def strong_coupling(target: model_pb2.Target) -> StrongCoupling | None:
    """The theory of a target, where the series says something about it."""
    shape = tuple(target.lattice.shape)
    if len(shape) not in (3, 4) or min(shape) < 3:
        return None  # where an extent is 2, opposite faces of a cube can be the same
    theory = target.WhichOneof("theory")
    if theory == "u1_wilson":
        made = StrongCoupling(1, target.u1_wilson.beta, shape)
    elif theory == "sun_wilson" and target.sun_wilson.rectangle == 0 and target.sun_wilson.colours in (2, 3):
        made = StrongCoupling(target.sun_wilson.colours, target.sun_wilson.beta, shape)
    else:
        return None
    return made if 0 < made.beta <= 10 and made.converges else None
