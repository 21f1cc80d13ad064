"""What is known about phi^4 and about gauge theories at strong coupling: against other methods, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from haarflow.report import exact, known
from haarflow.report.scalar import torus
from haarflow.report.strong_coupling import strong_coupling
from haarflow.v1 import model_pb2


def phi4(shape: list[int], m2: float, quartic: float, components: int = 1) -> model_pb2.Target:
    return model_pb2.Target(lattice=model_pb2.Lattice(shape=shape), phi4=model_pb2.Phi4Action(
        components=components, mass=model_pb2.Phi4MassForm(m2=m2, **{"lambda": quartic})))


def hopping(shape: list[int], kappa: float, quartic: float) -> model_pb2.Target:
    return model_pb2.Target(lattice=model_pb2.Lattice(shape=shape), phi4=model_pb2.Phi4Action(
        hopping=model_pb2.Phi4HoppingForm(kappa=kappa, **{"lambda": quartic})))


def su3(beta: float, shape: tuple[int, ...] = (4, 4, 4, 4)) -> model_pb2.Target:
    return model_pb2.Target(lattice=model_pb2.Lattice(shape=shape), sun_wilson=model_pb2.SunWilsonAction(colours=3, beta=beta))


# log Z by a contraction with up to 40 states (eight digits and more), moments by local Metropolis updates with cluster steps.
TUTORIAL = phi4([8, 8], -4, 8)
REFERENCE = [
    (TUTORIAL, 9.2913638456, {"phi_squared": (0.1434348382, 1.52e-5), "phi_fourth": (0.04230825477, 7.84e-6), "energy": (-0.08849272481 / 2, 1.53e-5),
                              "susceptibility": (0.7440173112, 6.5e-4), "magnetisation_abs": (0.08702065231, 4.23e-5)}),
    (phi4([6, 6], -4, 6.975), 6.9849478723, {"phi_squared": (0.1613939749, 2.07e-5), "susceptibility": (1.063688841, 7e-4)}),
    (hopping([8, 16], 0.2, 0.022), 80.1046175207, {"phi_squared": (0.6023383476, 8.88e-5), "susceptibility": (2.168330561, 3.29e-3)}),
]


@pytest.mark.parametrize(("target", "log_z", "means"), REFERENCE)
def test_phi4_agrees_with_other_methods(target: model_pb2.Target, log_z: float, means: dict[str, tuple[float, float]]) -> None:
    ours = known.log_z(target)
    assert ours is not None and 0 < ours.uncertainty < 2e-3 and abs(ours.value - log_z) <= ours.uncertainty and ours.source
    for name, (value, error) in means.items():
        mean = known.expectation(target, name)
        assert mean is not None and abs(mean.value - value) < 3.5 * np.hypot(error, mean.uncertainty), name


def test_phi4_on_two_by_two_sites_is_a_plain_integral() -> None:
    # Four sites, each pair of neighbours joined twice: T(a, b) = exp(2 h a b - ...) around the square.
    target = phi4([2, 2], -4, 6)
    x, step = np.linspace(-4, 4, 401, retstep=True)
    weight = np.exp(-(0.0 * x**2 + 6 * x**4) / 2)  # h = 2, a = 4 + m2 = 0
    bond = step * np.exp(4 * np.outer(x, x)) * np.outer(weight, weight)
    z = np.trace(np.linalg.matrix_power(bond, 4))
    squares = np.trace(np.linalg.matrix_power(bond, 4) @ np.diag(x**2)) / z
    log_z, mean = known.log_z(target), known.expectation(target, "phi_squared")
    assert log_z is not None and log_z.value == pytest.approx(np.log(z), abs=1e-8)
    assert mean is not None and mean.value == pytest.approx(squares, rel=2e-5)  # by differences


@pytest.mark.parametrize("name", ["magnetisation", "phi_squared", "susceptibility", "magnetisation_abs"])
def test_densities_have_the_means(name: str) -> None:
    density, mean = known.distribution(TUTORIAL, name), known.expectation(TUTORIAL, name)
    assert isinstance(density, exact.Density) and mean is not None
    probability = density.probability(density.edges)
    assert probability.sum() == pytest.approx(1)
    middle = (density.edges[1:] + density.edges[:-1]) / 2
    assert np.sum(probability * middle) == pytest.approx(mean.value, rel=2e-3, abs=1e-9)
    if name == "magnetisation":
        second = known.expectation(TUTORIAL, "magnetisation_squared")
        assert second is not None and np.sum(probability * middle**2) == pytest.approx(second.value, rel=2e-3)


def test_the_broken_phase_has_two_peaks() -> None:
    density = known.distribution(phi4([4, 4], -5, 4), "magnetisation")
    assert isinstance(density, exact.Density)
    middle = density.y[np.argmin(np.abs(density.x))]
    assert middle < 0.01 * density.y.max() and density.x[np.argmax(density.y)] != 0
    np.testing.assert_allclose(density.y, density.y[::-1], atol=1e-3 * density.y.max())


def test_strong_coupling_in_four_dimensions() -> None:
    # Metropolis: 0.0601461(115); 1536 log c_0 + 18432 u^6 = 45.0201408.
    plaquette, log_z = known.expectation(su3(1), "plaquette"), known.log_z(su3(1))
    assert plaquette is not None and log_z is not None
    assert plaquette.value == pytest.approx(0.0601302085, abs=5e-9) and plaquette.uncertainty < 1e-8
    assert log_z.value == pytest.approx(45.02014075, abs=2e-7)
    action = known.expectation(su3(1), "action")
    assert action is not None and action.value == pytest.approx(-1536 * plaquette.value)
    # The uncertainty grows until the series says nothing; other theories have no series here.
    widths = [strong_coupling(su3(beta)).log_z()[1] for beta in (1, 2, 3)]  # type: ignore[union-attr]
    assert widths[0] < widths[1] < widths[2] < 0.1
    assert strong_coupling(su3(6)) is None and strong_coupling(su3(1, (2, 4, 4, 4))) is None and strong_coupling(su3(1, (4, 4))) is None


def test_strong_coupling_of_u1_is_its_expansion() -> None:
    # Three dimensions: <cos theta> = t + 4 t^5 dt/dbeta + ..., t = I_1 / I_0 = beta / 2 - beta^3 / 16 + beta^5 / 96.
    beta = 0.3
    target = model_pb2.Target(lattice=model_pb2.Lattice(shape=[4, 4, 4]), u1_wilson=model_pb2.U1WilsonAction(beta=beta))
    t, slope = beta / 2 - beta**3 / 16 + beta**5 / 96, 0.5 - 3 * beta**2 / 16
    made = known.expectation(target, "plaquette")
    assert made is not None and made.value == pytest.approx(t + 4 * t**5 * slope, rel=3e-5)


def test_where_knowledge_ends() -> None:
    for target in (phi4([4, 4, 4], 1, 1), phi4([4, 4], 1, 1, components=2), phi4([4, 4], 1, 0), phi4([22, 22], 1, 1), phi4([128, 128], 1, 1)):
        assert torus(target) is None and known.log_z(target) is None and known.distribution(target, "phi_squared") is None
    assert known.expectation(TUTORIAL, "binder_cumulant") is None and known.distribution(TUTORIAL, "structure_factor_min") is None
    assert known.expectation(su3(1), "polyakov_abs") is None and known.distribution(su3(1), "plaquette") is None
