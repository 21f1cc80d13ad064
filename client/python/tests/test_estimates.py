"""Measurements and log Z, against the server and against pyerrors; statistics on chains whose answers are known."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import haarflow
from haarflow import series
from haarflow.statistics import with_error

from conftest import Server


def test_our_gamma_method_is_the_servers(client: haarflow.Client) -> None:
    batch = client.sample("u1-l8-b2", 3000, seed=11, fields=False).collect()
    measured = client.measure("u1-l8-b2", count=3000, seed=11)
    assert measured.run.seed == 11 and set(measured) == {"plaquette", "charge_squared"}
    for name, theirs in measured.items():
        ours = batch.mean(name)
        np.testing.assert_allclose([ours.value, ours.error, ours.tau_int, ours.tau_int_error],
                                   [theirs.value, theirs.error, theirs.tau_int, theirs.tau_int_error], rtol=1e-9)
        assert theirs.pull is not None and abs(theirs.pull) < 4.5


def test_our_weighted_mean_is_the_servers(client: haarflow.Client) -> None:
    # Far from the model's own coupling: weights that matter.
    batch = client.sample("u1-l8-b2", 3000, seed=11, mode="reweighted", fields=False, parameters={"beta": 1.7}).collect()
    theirs = client.measure("u1-l8-b2", ["plaquette"], 3000, seed=11, mode="reweighted", parameters={"beta": 1.7})["plaquette"]
    ours = batch.mean("plaquette")
    np.testing.assert_allclose([ours.value, ours.error], [theirs.value, theirs.error], rtol=1e-9)
    assert np.isnan(theirs.tau_int)
    assert haarflow.effective_sample_size(batch.log_weight) == pytest.approx(batch.statistics.ess, rel=1e-9) and batch.statistics.ess < 0.9
    estimate = haarflow.log_mean_weight(batch.log_weight)
    assert estimate.value == pytest.approx(batch.statistics.log_z, abs=2 * estimate.error)
    assert estimate.error == pytest.approx(batch.statistics.log_z_error, rel=0.5)


def test_log_z_meets_the_exact_value_and_its_bounds(client: haarflow.Client) -> None:
    seen: list[tuple[int, int]] = []
    z = client.log_z("u1-l8-b2", 16384, seed=2, thermodynamics=True, progress=lambda done, count: seen.append((done, count)))
    assert z.pull is not None and abs(z.pull) < 4.5 and z.proposals == 16384
    assert z.upper is not None and z.lower.value < z.value < z.upper.value
    assert "d log Z / d beta" in z.thermodynamics and seen[-1] == (16384, 16384)
    coarse = client.log_z("u1-l8-b2", 10**6, error=0.01, seed=2)
    assert coarse.error_reached and coarse.error < 0.01 and coarse.proposals < 10**5 and coarse.upper is None


def test_a_measurement_survives_a_restart(fragile: Server) -> None:
    with haarflow.connect(fragile.address) as client:
        unbroken = client.measure("u1-l8-b2", ["plaquette"], 20_000, seed=4)
        killed = threading.Event()

        def kill_once(done: int, count: int) -> None:
            if 0 < done < count and not killed.is_set():
                killed.set()
                fragile.kill()
                fragile.start()

        broken = client.measure("u1-l8-b2", ["plaquette"], 20_000, seed=4, progress=kill_once)
    assert killed.is_set()
    assert broken.estimates == unbroken.estimates and broken.statistics == unbroken.statistics


def test_gamma_method_on_a_chain_of_known_tau() -> None:
    generator = np.random.default_rng(1)
    rho, n = 0.8, 200_000
    noise = generator.standard_normal(n) * np.sqrt(1 - rho**2)
    chain = np.empty(n)
    chain[0] = generator.standard_normal()
    for i in range(1, n):
        chain[i] = rho * chain[i - 1] + noise[i]
    seen = haarflow.gamma_method(chain)
    exact = 0.5 * (1 + rho) / (1 - rho)
    assert abs(seen.estimate.tau_int - exact) < 4 * seen.estimate.tau_int_error < 0.5
    assert abs(seen.estimate.value) < 4 * seen.estimate.error
    assert seen.estimate.error == pytest.approx(np.sqrt(2 * exact / n), rel=0.05)
    constant = haarflow.gamma_method(np.full(100, 3.0)).estimate
    assert (constant.value, constant.error, constant.tau_int) == (3.0, 0.0, 0.5)
    for bad in ([1.0] * 7, [1.0] * 9 + [np.nan], np.ones((4, 4))):
        with pytest.raises(ValueError):
            haarflow.gamma_method(bad)


def test_numbers_are_written_as_physicists_do() -> None:
    cases = {(0.697886, 0.000275): "0.69789(28)", (4.8134, 0.0736): "4.813(74)", (1.5, 0.0996): "1.50(10)", (210.9429, 2.5): "210.9(2.5)",
             (1234.5, 56.0): "1234(56)", (3.0, 0.0): "3"}
    for (value, error), text in cases.items():
        assert with_error(value, error) == text


def test_pyerrors_takes_our_series(client: haarflow.Client) -> None:
    pyerrors = pytest.importorskip("pyerrors")
    replicas = [client.sample("u1-l8-b2", 2000, seed=seed, fields=False).collect() for seed in (1, 2)]
    made = series.time_series(replicas, "plaquette")
    assert made.names == ["u1-l8-b2|seed1", "u1-l8-b2|seed2"] and made.idl == [range(1, 2001)] * 2
    assert [s.size for s in made.samples] == [2000, 2000]
    obs = pyerrors.Obs(made.samples, made.names, idl=made.idl)
    obs.gamma_method()
    single = pyerrors.Obs(*(lambda s: (s.samples, s.names))(series.time_series(replicas[0], "plaquette")))
    single.gamma_method(S=1.5)
    ours = replicas[0].mean("plaquette")
    assert single.value == pytest.approx(ours.value, rel=1e-12)
    assert single.dvalue == pytest.approx(ours.error, rel=0.05)
    assert obs.dvalue == pytest.approx(ours.error / np.sqrt(2), rel=0.2)
    exact = client.measure("u1-l8-b2", ["plaquette"], 16)["plaquette"].exact
    assert exact is not None and abs(obs.value - exact) < 4.5 * obs.dvalue


def test_pyerrors_reweights_our_series(client: haarflow.Client) -> None:
    pyerrors = pytest.importorskip("pyerrors")
    batch = client.sample("u1-l8-b2", 2000, seed=1, mode="reweighted", fields=False, parameters={"beta": 1.8}).collect()
    o, w = series.time_series(batch, "plaquette"), series.weight_series(batch)
    obs, weight = (pyerrors.Obs(s.samples, s.names, idl=s.idl) for s in (o, w))
    (reweighted,) = pyerrors.reweight(weight, [obs])
    reweighted.gamma_method()
    ours = batch.mean("plaquette")
    assert reweighted.value == pytest.approx(ours.value, rel=1e-9) and reweighted.dvalue == pytest.approx(ours.error, rel=0.3)
    with pytest.raises(ValueError, match="no chain"):
        batch.chain("plaquette")
    with pytest.raises(ValueError, match="several batches of one replica"):
        series.time_series([batch, batch], "plaquette")
