"""Exact solutions of two-dimensional gauge theories and of single matrices: mean values, log Z, and whole distributions.

Independent of the server's own (core/action): character expansions, with the coefficients by quadrature of the group's angles.

On a periodic lattice of V plaquettes Z(beta) = sum_r c_r(beta)^V over irreducible representations r, where exp(beta Re tr P / N) =
sum_r d_r c_r chi_r(P) (Migdal 1975; for U(1) c_n = I_n(beta)). The distribution of the mean plaquette p follows from its characteristic
function, <exp(i k p)> = Z(beta + i k / V) / Z(beta).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..v1 import model_pb2

__all__ = ["Density", "Distribution", "Probabilities", "distribution", "expectation", "log_z"]

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

_MAX_REPRESENTATION = 24  # largest charge, dimension minus 1, or p and q
_MAX_BETA = 60.0          # quadrature and expansion are tested up to here


@dataclass(frozen=True)
class Density:
    """A probability density: values `y` at `x`; `cumulative` is its integral up to each of `edges`, 1 at the last."""

    x: Array
    y: Array
    edges: Array
    cumulative: Array

    @classmethod
    def of_points(cls, x: Array, y: Array) -> Density:
        """Piecewise linear."""
        integral = np.concatenate([[0.0], np.cumsum((y[1:] + y[:-1]) / 2 * np.diff(x))])
        return cls(x, y / integral[-1], x, integral / integral[-1])

    @classmethod
    def of_bins(cls, edges: Array, content: Array) -> Density:
        """Piecewise constant."""
        total = content.sum()
        return cls((edges[1:] + edges[:-1]) / 2, content / total / np.diff(edges), edges, np.concatenate([[0.0], np.cumsum(content) / total]))

    def probability(self, edges: Array) -> Array:
        """Of each bin between `edges`."""
        return np.asarray(np.diff(np.interp(edges, self.edges, self.cumulative)))


@dataclass(frozen=True)
class Probabilities:
    """Probabilities `y` of the integers `x`."""

    x: Array
    y: Array

    def probability(self, edges: Array) -> Array:
        """Of each bin between `edges`."""
        return np.asarray(np.histogram(self.x, edges, weights=self.y)[0])


Distribution = Density | Probabilities


@dataclass(frozen=True)
class _Group:
    """Points of the maximal torus with Haar weights (sum 1), tr/N there, and the representations that count.

    characters: chi_r at the points, [representation, point]; raised[r]: positions of the representations in r x fundamental (-1: beyond
    what is kept).
    """

    weight: Array
    trace: Array
    angles: Array
    dimension: Array
    characters: Complex
    raised: list[list[int]]


def _integral(y: Array, x: Array) -> Array:
    """Along the last axis, by the trapezoidal rule."""
    return np.asarray(np.sum((y[..., 1:] + y[..., :-1]) / 2 * np.diff(x), axis=-1))


def _angles(points: int) -> Array:
    return np.asarray(2 * np.pi * np.arange(points) / points)


@lru_cache(maxsize=4)
def _group(colours: int) -> _Group:
    """U(1) for colours = 1, SU(2), SU(3)."""
    top = _MAX_REPRESENTATION
    if colours == 1:
        theta = _angles(256)
        charges = np.arange(-top * 2, top * 2 + 1)
        position = {n: i for i, n in enumerate(charges)}
        return _Group(np.full(theta.size, 1 / theta.size), np.cos(theta), theta[None], np.ones(charges.size),
                      np.exp(1j * np.outer(charges, theta)), [[position.get(n + 1, -1)] for n in charges])
    if colours == 2:
        alpha = _angles(256)
        dims = np.arange(1, top * 2 + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            characters = np.sin(np.outer(dims, alpha)) / np.sin(alpha)
        characters[:, 0] = dims
        characters[:, alpha.size // 2] = dims * (-1.0) ** (dims - 1)
        raised = [[i + 1 if i + 1 < dims.size else -1] + ([i - 1] if i > 0 else []) for i in range(dims.size)]
        return _Group(2 * np.sin(alpha) ** 2 / alpha.size, np.cos(alpha), np.stack([alpha, -alpha]), dims.astype(float),
                      characters.astype(complex), raised)
    return _su3()


def _su3() -> _Group:
    theta = _angles(96)
    # Half a step aside: no two angles are equal, where Weyl's formula is 0 / 0.
    a, b = (grid.ravel() for grid in np.meshgrid(theta + 1e-3, theta + 2e-3 + np.pi / 96, indexing="ij"))
    angles = np.stack([a, b, -a - b])
    z = np.exp(1j * angles)
    vandermonde = (z[0] - z[1]) * (z[0] - z[2]) * (z[1] - z[2])
    weight = np.abs(vandermonde) ** 2 / 6 / a.size
    labels = [(p, q) for p in range(13) for q in range(13) if p + q <= 12]
    position = {label: i for i, label in enumerate(labels)}
    powers = np.stack([z**n for n in range(16)])  # [power, eigenvalue, point]
    characters = []
    for p, q in labels:
        rows = [powers[p + q + 2], powers[q + 1], powers[0]]
        determinant = sum(sign * rows[0][i] * rows[1][j] * rows[2][k] for (i, j, k), sign in
                          {(0, 1, 2): 1, (1, 2, 0): 1, (2, 0, 1): 1, (0, 2, 1): -1, (1, 0, 2): -1, (2, 1, 0): -1}.items())
        characters.append(determinant / vandermonde)
    raised = [[position.get(label, -1) for label in ((p + 1, q), (p - 1, q + 1), (p, q - 1)) if min(label) >= 0] for p, q in labels]
    dims = np.array([(p + 1) * (q + 1) * (p + q + 2) / 2 for p, q in labels])
    return _Group(weight, z.sum(0).real / 3, angles, dims, np.stack(characters), raised)


def _log_coefficients(group: _Group, beta: Complex) -> tuple[Complex, Complex]:
    """c_r(beta) relative to exp(shift), [beta, r], and the shift, [beta]: nothing overflows."""
    shift = np.abs(beta.real).astype(complex)
    boltzmann = np.exp(np.outer(beta, group.trace) - shift[:, None]) * group.weight
    return boltzmann @ group.characters.conj().T / group.dimension, shift


@dataclass(frozen=True)
class _Torus:
    group: _Group
    beta: float
    plaquettes: int
    extents: tuple[int, ...]

    def log_z(self, beta: Complex) -> Complex:
        """Of complex couplings."""
        c, shift = _log_coefficients(self.group, beta)
        top = np.argmax(np.abs(c), axis=1)
        leading = c[np.arange(beta.size), top]
        ratio = np.sum((c / leading[:, None]) ** self.plaquettes, axis=1)
        return np.asarray(self.plaquettes * (np.log(leading) + shift) + np.log(ratio))

    def wilson_loop(self, area: int) -> float:
        """<Re tr W / N> of a contractible loop: sum over r, r' in r x fundamental of (d_r' / d_r) c_r'^A c_r^(V - A) / (N Z)."""
        g, v = self.group, self.plaquettes
        c = _log_coefficients(g, np.array([complex(self.beta)]))[0][0].real
        c = c / c.max()
        colours = 1 if g.angles.shape[0] == 1 else g.angles.shape[0]
        total = sum(g.dimension[to] / g.dimension[r] * c[to] ** area * c[r] ** (v - area) for r, tos in enumerate(g.raised) for to in tos
                    if to >= 0)
        return float(total / colours / np.sum(c**v))


@dataclass(frozen=True)
class _Matrix:
    """S = -sum_n couplings[n - 1] Re tr U^n / N of one matrix with the eigenvalues exp(i angles)."""

    group: _Group
    couplings: tuple[float, float, float]

    def values(self, observable: str, angles: Array) -> Array | None:
        """Of "action" or "trace_n" at [eigenvalue, point]."""
        if observable == "action":
            return np.asarray(-sum(c * np.cos((n + 1) * angles).mean(0) for n, c in enumerate(self.couplings)))
        if observable.startswith("trace_"):
            return np.asarray(np.cos(int(observable[len("trace_"):]) * angles).mean(0))
        return None

    def boltzmann(self, angles: Array) -> Array:
        """exp(-S) over its largest value."""
        action = self.values("action", angles)
        assert action is not None
        return np.asarray(np.exp(action.min() - action))


def _solution(target: model_pb2.Target) -> _Torus | _Matrix | None:
    theory = target.WhichOneof("theory")
    if theory == "sun_matrix":
        m = target.sun_matrix
        couplings = (m.beta * m.c1, m.beta * m.c2, m.beta * m.c3)
        return _Matrix(_group(m.colours), couplings) if sum(map(abs, couplings)) <= _MAX_BETA else None
    shape = tuple(target.lattice.shape)
    if len(shape) != 2:
        return None
    if theory == "u1_wilson":
        action = target.u1_wilson
        # Other forms and theta terms: the server knows their exact values, this module does not.
        if action.form > model_pb2.U1_ACTION_FORM_WILSON or action.theta_imaginary != 0:
            return None
        colours, beta = 1, action.beta
    elif theory == "sun_wilson" and target.sun_wilson.rectangle == 0:
        colours, beta = target.sun_wilson.colours, target.sun_wilson.beta
    else:
        return None
    # Couplings at which representations beyond those that are kept would count.
    if not 0 <= beta <= (_MAX_BETA if colours < 3 else 20.0) or colours > 3:
        return None
    return _Torus(_group(colours), beta, shape[0] * shape[1], shape)


def log_z(target: model_pb2.Target) -> float | None:
    """The exact log Z, or None where this module does not know it."""
    solution = _solution(target)
    if solution is None:
        return None
    if isinstance(solution, _Torus):
        return float(solution.log_z(np.array([complex(solution.beta)]))[0].real)
    action = solution.values("action", solution.group.angles)
    assert action is not None
    return float(-action.min() + np.log(np.sum(solution.group.weight * solution.boltzmann(solution.group.angles))))


def expectation(target: model_pb2.Target, observable: str) -> float | None:
    """The exact mean of an observable, or None."""
    solution = _solution(target)
    if isinstance(solution, _Matrix):
        values = solution.values(observable, solution.group.angles)
        weight = solution.group.weight * solution.boltzmann(solution.group.angles)
        return None if values is None else float(np.sum(weight * values) / weight.sum())
    if solution is None:
        return None
    if observable == "plaquette":
        return solution.wilson_loop(1)
    if observable == "energy":
        return -solution.wilson_loop(1)
    if observable == "action":
        return -solution.beta * solution.plaquettes * solution.wilson_loop(1)
    if observable.startswith("wilson_loop_"):
        width, height = (int(extent) for extent in observable[len("wilson_loop_"):].split("x"))
        return solution.wilson_loop(width * height)
    charge = distribution(target, "charge") if observable.startswith("charge") else None
    if charge is None:
        return None
    if observable == "charge_squared":
        return float(np.sum(charge.x**2 * charge.y))
    if observable == "charge":
        return 0.0
    if observable.startswith("charge_cos_"):
        return float(np.sum(np.cos(float(observable[len("charge_cos_"):]) * charge.x) * charge.y))
    sector = int(observable[len("charge_probability_"):])
    return float(charge.y[charge.x == sector].sum())


def distribution(target: model_pb2.Target, observable: str) -> Distribution | None:
    """The exact distribution of an observable of single configurations, or None where it is not known in closed form.

    Returns
    -------
    Density or Probabilities
        Normalised; Probabilities for charges, which are integers.
    """
    solution = _solution(target)
    if isinstance(solution, _Matrix):
        return _matrix_density(solution, observable)
    if solution is None:
        return None
    if observable in ("plaquette", "action"):
        density = _plaquette_density(solution)
        if observable == "plaquette":
            return density
        scale = solution.beta * solution.plaquettes
        return Density.of_points(-scale * density.x[::-1], density.y[::-1] / scale) if scale > 0 else None
    if target.WhichOneof("theory") != "u1_wilson":
        return None
    charges = _charges(solution)
    if observable == "charge":
        return charges
    if observable == "charge_squared":
        squares = np.unique(charges.x**2)
        return Probabilities(squares, np.array([charges.y[charges.x**2 == s].sum() for s in squares]))
    return None


def _plaquette_density(torus: _Torus) -> Density:
    """p(x) = int dk / (2 pi) exp(-i k x) Z(beta + i k / V) / Z(beta)."""
    v = torus.plaquettes
    # Where the characteristic function has died out: look at ever larger k.
    reach = 4.0 * np.sqrt(v)
    start = torus.log_z(np.array([complex(torus.beta)]))[0]
    while np.exp((torus.log_z(np.array([torus.beta + 1j * reach / v]))[0] - start).real) > 1e-9 and reach < 400 * np.sqrt(v):
        reach *= 1.5
    mean = torus.wilson_loop(1)
    k = np.linspace(-reach, reach, 2049)
    # Symmetric: the half k >= 0 is enough.
    half = k[k >= 0]
    phi = np.exp(torus.log_z(torus.beta + 1j * half / v) - start - 1j * half * mean)
    variance = max(-(np.log(np.abs(phi[1])) * 2 / half[1] ** 2), 1e-12)
    x = mean + np.sqrt(variance) * np.linspace(-6, 6, 401)
    x = x[(x <= 1) & (x >= -1)]
    kernel = np.cos(np.outer(x - mean, half)) * phi.real + np.sin(np.outer(x - mean, half)) * phi.imag
    y = _integral(kernel, half) / np.pi
    return Density.of_points(x, np.maximum(y, 0))


def _charges(torus: _Torus) -> Probabilities:
    """P(Q) ~ int ds f(s)^V cos(2 pi s Q), f(s) = int dtheta / (2 pi) exp(beta cos theta) cos(s theta): geometric charge of U(1)."""
    node, weight = np.polynomial.legendre.leggauss(256)
    theta = np.pi * node
    s = np.linspace(0, 6, 1501)
    f = np.cos(np.outer(s, theta)) @ (weight * np.exp(torus.beta * (np.cos(theta) - 1)))
    density = np.sign(f) ** torus.plaquettes * np.exp(torus.plaquettes * np.log(np.abs(f) / f[0] + 1e-300))
    charges = np.arange(-80, 81)
    y = _integral(np.cos(2 * np.pi * np.outer(charges, s)) * density, s)
    y = np.where(y > 1e-14 * y.max(), y, 0.0)  # below: rounding
    keep = np.abs(charges) <= np.max(np.abs(charges[y > 0]))
    return Probabilities(charges[keep].astype(float), y[keep] / y.sum())


def _matrix_density(matrix: _Matrix, observable: str) -> Density | None:
    """By the histogram of a fine grid of angles: the density may have edges and integrable singularities."""
    if matrix.group.angles.shape[0] == 2:
        a = (np.arange(1_000_000) + 0.5) / 1_000_000 * np.pi
        angles, haar = np.stack([a, -a]), np.sin(a) ** 2
    else:
        a = (np.arange(1000) + 0.5) / 1000 * 2 * np.pi
        first, second = (grid.ravel() for grid in np.meshgrid(a, a + np.pi / 3000, indexing="ij"))
        angles = np.stack([first, second, -first - second])
        z = np.exp(1j * angles)
        haar = np.abs((z[0] - z[1]) * (z[0] - z[2]) * (z[1] - z[2])) ** 2
    values = matrix.values(observable, angles)
    if values is None:
        return None
    bins = 1500 if angles.shape[0] == 2 else 300
    content, edges = np.histogram(values, bins=bins, weights=haar * matrix.boltzmann(angles))
    return Density.of_bins(edges, content)
