"""One-component phi^4 in two dimensions by contraction of tensors: log Z, means and distributions of what couples to the action.

S = sum_x [ -h sum_mu phi_x phi_{x+mu} + a phi_x^2 + lambda phi_x^4 - j phi_x ], periodic, Lebesgue measure. The kernel of a bond,
exp(h x y - (V(x) + V(y)) / 4), is expanded in its leading singular functions, a site becomes a tensor of four legs, and sites are merged
to blocks whose legs are cut to the `states` leading ones (higher-order tensor renormalisation, arXiv:1201.1144) until a torus of at most
2x2 blocks is left, which is contracted without cuts. What is cut away is the only error: each value is computed twice, with
different numbers of states, and their difference is its uncertainty.

An observable O that is linear in the couplings has <exp(s O)> = Z(couplings + s direction) / Z(couplings): derivatives at s = 0 are its
mean, and s = i k gives the characteristic function of its distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..v1 import model_pb2

__all__ = ["Couplings", "ScalarTorus", "torus"]

Array = npt.NDArray[np.float64]
Tensor = npt.NDArray[np.complex128] | npt.NDArray[np.float64]

_MAX_SITES = 4096     # beyond, what is cut away adds up to more than runs can see
_NODES = 120          # trapezoidal rule, whose error falls exponentially for such kernels
_COARSE, _FINE = 10, 14
_CURVE_COARSE, _CURVE = 8, 12
_TAIL = 1e-4            # of characteristic functions, that may be left out
_CURVE_ACCURACY = 2e-3  # of cumulative probabilities, between the two numbers of states


@dataclass(frozen=True)
class Couplings:
    """h, a, lambda, j."""

    hop: complex
    square: complex
    quartic: complex
    source: complex = 0.0

    def moved(self, direction: Couplings, s: complex) -> Couplings:
        return Couplings(self.hop + s * direction.hop, self.square + s * direction.square, self.quartic + s * direction.quartic,
                         self.source + s * direction.source)

    @property
    def real(self) -> bool:
        return all(complex(c).imag == 0 for c in (self.hop, self.square, self.quartic, self.source))


def _couplings(target: model_pb2.Target) -> Couplings | None:
    action = target.phi4
    if action.WhichOneof("form") == "mass":
        c = action.mass.normalisation or 1.0
        return Couplings(2 * c, c * (2 * len(target.lattice.shape) + action.mass.m2), getattr(action.mass, "lambda"))
    if action.WhichOneof("form") == "hopping":
        quartic = getattr(action.hopping, "lambda")
        return Couplings(2 * action.hopping.kappa, 1 - 2 * quartic, quartic)
    return None


def torus(target: model_pb2.Target) -> ScalarTorus | None:
    """The lattice of a target, where this module solves it."""
    shape = tuple(target.lattice.shape)
    if target.WhichOneof("theory") != "phi4" or target.phi4.components == 2 or len(shape) != 2:
        return None
    couplings = _couplings(target)
    if couplings is None or not couplings.quartic.real > 0 or shape[0] * shape[1] > _MAX_SITES or max(_prime_factors(shape[0] * shape[1])) > 7:
        return None
    return ScalarTorus(couplings, shape)


def _prime_factors(n: int) -> list[int]:
    factors, p = [], 2
    while n > 1:
        while n % p == 0:
            factors.append(p)
            n //= p
        p += 1
    return factors


def _site(c: Couplings, base: Couplings, states: int) -> Tensor:
    """[left, right, up, down], at most `states` each; `base`: real couplings, of which the others are a deformation."""
    x = np.linspace(0, 1, 4001)
    quadratic, quartic = base.square.real - 2 * abs(base.hop.real), base.quartic.real
    scale = 1.0
    while quadratic * scale**2 + quartic * scale**4 + (quadratic**2 / (4 * quartic) if quadratic < 0 else 0) < 60:
        scale *= 1.1
    effective = quadratic * (scale * x) ** 2 + quartic * (scale * x) ** 4
    reach = scale * x[np.max(np.flatnonzero(effective - effective.min() < 45))]
    node, step = np.linspace(-reach, reach, _NODES, retstep=True)
    potential = c.square * node**2 + c.quartic * node**4 - c.source * node
    bond = step * np.exp(c.hop * np.outer(node, node) - (potential[:, None] + potential) / 4)
    if c.real:
        bond = bond.real
    left, size, right = np.linalg.svd(bond)
    kept = min(states, int(np.sum(size > 1e-9 * size[0])))
    root = np.sqrt(size[:kept] / step)
    ends = (right[:kept].T * root)[:, :, None] * (left[:, :kept] * root)[:, None, :]
    pair = ends.reshape(_NODES, -1)
    return np.asarray((step * pair.T @ pair).reshape(kept, kept, kept, kept))


def _gram(upper: Tensor, lower: Tensor) -> Tensor:
    """M M^+ of the merged tensor as a matrix from its left legs to all others."""
    a = np.tensordot(upper, upper.conj(), ([1, 2], [1, 2]))
    b = np.tensordot(lower, lower.conj(), ([1, 3], [1, 3]))
    together = np.tensordot(a, b, ([1, 3], [1, 3])).transpose(0, 2, 1, 3)
    return np.asarray(together.reshape(upper.shape[0] * lower.shape[0], -1))


def _merge(upper: Tensor, lower: Tensor, states: int) -> Tensor:
    """One block above another. Their two left legs become one, and so do the right ones: the space that loses least is kept."""
    across = upper.shape[0] * lower.shape[0]
    if across <= states:
        isometry = np.eye(across)
    else:
        left, left_vectors = np.linalg.eigh(_gram(upper, lower))
        right, right_vectors = np.linalg.eigh(_gram(upper.transpose(1, 0, 2, 3), lower.transpose(1, 0, 2, 3)))
        lost = [np.sum(np.abs(values[:-states])) / np.sum(np.abs(values)) for values in (left, right)]
        isometry = left_vectors[:, -states:] if lost[0] <= lost[1] else right_vectors[:, -states:].conj()
    kept = isometry.reshape(upper.shape[0], lower.shape[0], -1)
    part = np.tensordot(np.tensordot(upper, kept.conj(), ([0], [0])), lower, ([3, 2], [0, 2]))  # right, up, new left, right, down
    return np.asarray(np.tensordot(part, kept, ([0, 3], [0, 1])).transpose(1, 3, 0, 2))


def _scaled(tensor: Tensor) -> tuple[Tensor, float]:
    size = float(np.abs(tensor).max())
    return tensor / size, float(np.log(size))


@dataclass(frozen=True)
class ScalarTorus:
    """A target's couplings on a lattice."""

    couplings: Couplings
    shape: tuple[int, int]

    @property
    def volume(self) -> int:
        return self.shape[0] * self.shape[1]

    def _direction(self, observable: str) -> Couplings | None:
        v, c = self.volume, self.couplings
        return {"phi_squared": Couplings(0, -1 / v, 0), "phi_fourth": Couplings(0, 0, -1 / v), "neighbour_sum": Couplings(1 / v, 0, 0),
                "energy": Couplings(-1 / (2 * v), 0, 0), "action": Couplings(-c.hop, -c.square, -c.quartic),
                "magnetisation": Couplings(0, 0, 0, 1 / v)}.get(observable)

    def log_z(self, states: int, at: Couplings | None = None) -> complex:
        """Of other couplings too."""
        return _log_z(at or self.couplings, self.couplings, self.shape, states)

    def known_log_z(self) -> tuple[float, float]:
        """The value and its uncertainty."""
        coarse, fine = (self.log_z(states).real for states in (_COARSE, _FINE))
        return fine, abs(fine - coarse)

    def known_mean(self, observable: str) -> tuple[float, float] | None:
        """Of an observable, with its uncertainty; None for those that this module does not know."""
        direction = self._direction(observable)
        if observable == "magnetisation":
            return 0.0, 0.0
        if direction is not None:
            coarse, fine = (self._slope(direction, states) for states in (_COARSE, _FINE))
            return fine, abs(fine - coarse)
        scale = {"magnetisation_squared": 1.0, "susceptibility": float(self.volume)}.get(observable)
        if scale is not None:
            source = Couplings(0, 0, 0, 1 / self.volume)
            coarse, fine = (scale * self._curvature(source, states) for states in (_COARSE, _FINE))
            return fine, abs(fine - coarse)
        if observable == "magnetisation_abs":
            known = self.density("magnetisation")
            if known is not None:
                x, y = known
                uncertainty = _CURVE_ACCURACY * float(np.sqrt(np.sum(x**2 * y) / np.sum(y)))
                return float(np.sum(np.abs(x) * y) / np.sum(y)), uncertainty
        return None

    def _spread(self, direction: Couplings, states: int) -> float:
        """The standard deviation of the observable, to a few per cent."""
        step = 0.5 / np.sqrt(self.volume) if direction.hop and direction.square else 0.5 * np.sqrt(self.volume)
        for _ in range(4):
            up, middle, down = (self.log_z(states, self.couplings.moved(direction, s)).real for s in (step, 0.0, -step))
            spread = np.sqrt(max(up - 2 * middle + down, 1e-12)) / step
            if 0.3 < spread * step < 1.5:
                break
            step = 0.7 / spread
        return float(spread)

    def _slope(self, direction: Couplings, states: int) -> float:
        """d log Z / ds by two central differences, extrapolated."""
        step = 0.2 / self._spread(direction, _CURVE_COARSE)
        up, half_up, half_down, down = (self.log_z(states, self.couplings.moved(direction, s * step)).real for s in (1, 0.5, -0.5, -1))
        return float((4 * (half_up - half_down) - (up - down) / 2) / (3 * step))

    def _curvature(self, direction: Couplings, states: int) -> float:
        """d^2 log Z / ds^2, which is even in s."""
        step = 0.4 / self._spread(direction, _CURVE_COARSE)
        middle, half, whole = (self.log_z(states, self.couplings.moved(direction, s * step)).real for s in (0, 0.5, 1))
        return float((4 * 8 * (half - middle) - 2 * (whole - middle)) / (3 * step**2))

    def density(self, observable: str) -> tuple[Array, Array] | None:
        """Points and density of an observable that is linear in the couplings; None where it cannot be had to _CURVE_ACCURACY."""
        fine, coarse = (_density(self, observable, states) for states in (_CURVE, _CURVE_COARSE))
        if fine is None or coarse is None:
            return None
        step = fine[0][1] - fine[0][0]
        other = np.interp(fine[0], coarse[0], coarse[1], left=0, right=0)
        cumulative, others = (np.cumsum(y) * step for y in (fine[1], other))
        return fine if np.max(np.abs(cumulative - others)) < _CURVE_ACCURACY else None


@lru_cache(maxsize=4096)
def _log_z(at: Couplings, base: Couplings, shape: tuple[int, int], states: int) -> complex:
    tensor, log_scale = _scaled(_site(at, base, states))
    left = list(shape)
    blocks = shape[0] * shape[1]
    total = log_scale * blocks
    while max(left) > 2:
        # The longer direction first: blocks stay as square as they can.
        axis = 0 if left[0] >= left[1] else 1
        factor = min(_prime_factors(left[axis])) if left[axis] % 2 or left[axis] > 4 else 2
        odd = [p for p in _prime_factors(left[axis]) if p > 2]
        factor = odd[-1] if odd else factor
        one = tensor if axis == 0 else tensor.transpose(2, 3, 0, 1)
        merged = one
        for _ in range(factor - 1):
            merged = _merge(merged, one, states)
        tensor, log_scale = _scaled(merged if axis == 0 else merged.transpose(2, 3, 0, 1))
        left[axis] //= factor
        blocks //= factor
        total += log_scale * blocks
    if left[1] == 1:
        row = np.einsum("llud->ud", tensor)
    else:
        row = np.tensordot(tensor, tensor, ([1, 0], [0, 1])).transpose(0, 2, 1, 3)
        row = row.reshape(row.shape[0] * row.shape[1], -1)
    closed = np.trace(row) if left[0] == 1 else np.sum(row * row.T)
    return complex(total + np.log(complex(closed)))


@lru_cache(maxsize=64)
def _density(lattice: ScalarTorus, observable: str, states: int) -> tuple[Array, Array] | None:
    """p(x) = int dk / (2 pi) exp(-i k x) Z(couplings + i k direction) / Z by the trapezoidal rule: exact but for the distribution's images."""
    direction = lattice._direction(observable)
    if direction is None:
        return None
    spread = lattice._spread(direction, states)
    even = observable == "magnetisation"
    mean = 0.0 if even else lattice._slope(direction, states)
    half_width = 7 * spread
    step = np.pi / half_width
    start, k, values = lattice.log_z(states), [0.0], [1.0 + 0j]
    while len(k) < 4 or max(abs(value) for value in values[-3:]) > _TAIL:
        if k[-1] * spread > (60 if even else 25):
            return None
        k.append(k[-1] + step)
        values.append(np.exp(lattice.log_z(states, lattice.couplings.moved(direction, 1j * k[-1])) - start - 1j * k[-1] * mean))
    phi = np.array(values)
    phi[0] = 0.5
    x = np.linspace(-half_width, half_width, 1201)[1:-1]
    angles = np.outer(x, k)
    y = (np.cos(angles) @ phi.real + (0 if even else np.sin(angles) @ phi.imag)) * step / np.pi
    return mean + x, np.maximum(y, 0)
