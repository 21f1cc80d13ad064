"""Our exact solutions against the server's, which are made another way, and against simple sums."""

from __future__ import annotations

import numpy as np
import pytest

import haarflow
from haarflow.report import exact
from haarflow.v1 import model_pb2

OBSERVABLES = {
    "u1-l8-b2": ["plaquette", "charge_squared", "charge_probability_0", "charge_probability_-3", "wilson_loop_2x2", "wilson_loop_3x4", "action"],
    "su2-l16-perfect": ["plaquette", "wilson_loop_2x2", "wilson_loop_1x3"],
    "su3-l16-perfect": ["plaquette", "wilson_loop_2x2", "wilson_loop_1x3"],
    "su2-matrix-b9": ["trace_1", "trace_2", "trace_3", "action"],
    "su3-matrix-b9": ["trace_1", "trace_2", "trace_3", "action"],
}


@pytest.mark.parametrize("model", OBSERVABLES)
def test_means_and_log_z_are_the_servers(client: haarflow.Client, model: str) -> None:
    target = client.target(model)
    for name, theirs in client.measure(model, OBSERVABLES[model], 16, seed=1).items():
        assert exact.expectation(target, name) == pytest.approx(theirs.exact, rel=1e-10, abs=1e-10), name
    assert exact.log_z(target) == pytest.approx(client.log_z(model, 256, seed=1).exact, rel=1e-12)


@pytest.mark.parametrize("model", OBSERVABLES)
def test_distributions_have_the_exact_means(client: haarflow.Client, model: str) -> None:
    target = client.target(model)
    for name in OBSERVABLES[model]:
        distribution = exact.distribution(target, name)
        if distribution is None:
            continue
        if isinstance(distribution, exact.Probabilities):
            assert distribution.y.sum() == pytest.approx(1)
            mean = np.sum(distribution.x * distribution.y)
        else:
            probability = distribution.probability(distribution.edges)
            assert probability.sum() == pytest.approx(1)
            mean = np.sum(probability * (distribution.edges[1:] + distribution.edges[:-1]) / 2)
        # Bins at the edges of a matrix's distribution are asymmetric within.
        assert mean == pytest.approx(exact.expectation(target, name), rel=2e-3 if "matrix" in model else 1e-6), name


def u1(beta: float, *shape: int) -> model_pb2.Target:
    return model_pb2.Target(lattice=model_pb2.Lattice(shape=shape), u1_wilson=model_pb2.U1WilsonAction(beta=beta))


def test_the_variance_is_the_second_derivative_of_log_z() -> None:
    for target in (u1(2.0, 4, 6), u1(6.0, 8, 8)):
        beta, v = target.u1_wilson.beta, int(np.prod(target.lattice.shape))
        density = exact.distribution(target, "plaquette")
        assert isinstance(density, exact.Density)
        probability = density.probability(density.edges)
        middle = (density.edges[1:] + density.edges[:-1]) / 2
        variance = np.sum(probability * middle**2) - np.sum(probability * middle) ** 2
        h = 1e-3
        z = [exact.log_z(u1(beta + s * h, *target.lattice.shape)) for s in (-1, 0, 1)]
        assert None not in z
        assert variance == pytest.approx((z[0] - 2 * z[1] + z[2]) / h**2 / v**2, rel=1e-3)  # type: ignore[operator]


def test_strong_and_weak_coupling() -> None:
    assert exact.log_z(u1(0.0, 4, 4)) == pytest.approx(0, abs=1e-12)
    assert exact.expectation(u1(1e-3, 4, 4), "plaquette") == pytest.approx(0.5e-3, rel=1e-3)
    su3 = model_pb2.Target(lattice=model_pb2.Lattice(shape=[4, 4]), sun_wilson=model_pb2.SunWilsonAction(colours=3, beta=1e-2))
    assert exact.expectation(su3, "plaquette") == pytest.approx(1e-2 / 18, rel=1e-2)  # beta / 2 N^2


def test_what_is_not_known_is_not_guessed() -> None:
    four = model_pb2.Target(lattice=model_pb2.Lattice(shape=[4] * 4), sun_wilson=model_pb2.SunWilsonAction(colours=3, beta=1))
    rectangles = model_pb2.Target(lattice=model_pb2.Lattice(shape=[4, 4]), sun_wilson=model_pb2.SunWilsonAction(colours=3, beta=1, rectangle=-0.1))
    scalar = model_pb2.Target(lattice=model_pb2.Lattice(shape=[4, 4]), phi4=model_pb2.Phi4Action(mass=model_pb2.Phi4MassForm(m2=1, **{"lambda": 1})))
    for target in (four, rectangles, scalar, u1(500.0, 4, 4), u1(-1.0, 4, 4)):
        assert exact.log_z(target) is None and exact.expectation(target, "plaquette") is None and exact.distribution(target, "plaquette") is None
    assert exact.expectation(u1(2.0, 4, 4), "polyakov_abs") is None and exact.distribution(u1(2.0, 4, 4), "wilson_loop_2x2") is None
