"""Streams: what they hold, and that breaks leave no trace."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

import haarflow

from conftest import CHUNK, Server


def arrays(batch: haarflow.Batch) -> dict[str, np.ndarray]:
    return {"fields": batch.fields, "index": batch.index, "multiplicity": batch.multiplicity, "log_weight": batch.log_weight,
            "log_q": batch.log_q, "action": batch.action, **batch.observables}


def assert_equal_bits(one: haarflow.Batch, other: haarflow.Batch) -> None:
    for (name, a), b in zip(arrays(one).items(), arrays(other).values(), strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), name


def test_a_batch_holds_what_its_fields_say(client: haarflow.Client) -> None:
    with client.sample("u1-l8-b2", 500, seed=3) as stream:
        assert stream.run.seed == 3 and stream.run.shape == (2, 8, 8) and stream.run.observables == ("plaquette", "charge_squared")
        batch = stream.collect()
    assert batch.steps == stream.statistics.steps == 500
    assert batch.fields is not None and batch.fields.flags.writeable
    theta = batch.fields
    angle = theta[:, 0] + np.roll(theta[:, 1], -1, -1) - np.roll(theta[:, 0], -1, -2) - theta[:, 1]
    np.testing.assert_allclose(np.cos(angle).mean((1, 2)), batch.observables["plaquette"], atol=1e-12)
    np.testing.assert_allclose(-2 * np.cos(angle).sum((1, 2)), batch.action, atol=1e-9)
    np.testing.assert_allclose(batch.log_weight, -batch.action - batch.log_q, atol=1e-9)
    assert np.isclose(np.sum(batch.weights * batch.observables["plaquette"]), batch.chain("plaquette").mean())


def test_matrices_are_complex_and_special_unitary(client: haarflow.Client) -> None:
    batch = client.sample("su3-matrix-b9", 200, seed=1, mode="reweighted").collect()
    u = batch.fields
    assert u is not None and u.shape == (200, 3, 3) and u.dtype == np.complex128
    np.testing.assert_allclose(u @ u.conj().swapaxes(1, 2), np.broadcast_to(np.eye(3), u.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(u), 1, atol=1e-12)
    np.testing.assert_allclose(np.trace(u, axis1=1, axis2=2).real / 3, batch.observables["trace_1"], atol=1e-12)
    links = client.sample("su2-l16-perfect", 3, seed=1, dtype="float32").collect().fields
    assert links is not None and links.shape == (3, 2, 16, 16, 2, 2) and links.dtype == np.complex64


def test_a_field_larger_than_a_chunk_comes_whole(client: haarflow.Client) -> None:
    batch = client.sample("su3-l16-perfect", 3, seed=1).collect()
    assert batch.fields is not None and batch.fields[0].nbytes > CHUNK
    a, b = batch.fields[:, 0], batch.fields[:, 1]
    plaquette = np.einsum("...ij,...jk,...lk,...il->...", a, np.roll(b, -1, -3), np.roll(a, -1, -4).conj(), b.conj()).real / 3
    np.testing.assert_allclose(plaquette.mean((1, 2)), batch.observables["plaquette"], atol=1e-12)


def test_batches_join_to_at_least_what_is_asked(client: haarflow.Client) -> None:
    sizes = [len(batch) for batch in client.sample("u1-l8-b2", 1000, seed=3, at_least=150)]
    assert len(sizes) > 2 and all(size >= 150 for size in sizes[:-1])
    without = client.sample("u1-l8-b2", 100, seed=3, fields=False, observables=["charge"]).collect()
    assert without.fields is None and set(without.observables) == {"charge"}


@pytest.mark.parametrize("mode", ["metropolis", "reweighted"])
def test_a_token_goes_on_as_if_there_had_been_no_break(client: haarflow.Client, mode: haarflow.records.Mode) -> None:
    # Another coupling: few proposals are accepted, so that the cut divides a state.
    other = {"beta": 1.6}
    whole = client.sample("u1-l8-b2", 700, seed=5, mode=mode, parameters=other).collect()
    first = client.sample("u1-l8-b2", 300, seed=5, mode=mode, parameters=other).collect()
    by_batch = client.sample(resume=first, count=400).collect()
    by_token = client.sample(resume=first.token, count=400, observables=["plaquette", "charge_squared"]).collect()
    assert_equal_bits(by_batch, by_token)
    joined = haarflow.concatenate([first, by_batch])
    assert_equal_bits(joined, whole)
    if mode == "metropolis":
        assert first.index[-1] == by_batch.index[0], "the cut divides no state: the test shows too little"
        np.testing.assert_array_equal(np.concatenate([first.chain("charge_squared"), by_batch.chain("charge_squared")]), whole.chain("charge_squared"))


@pytest.mark.parametrize("mode", ["metropolis", "reweighted"])
def test_a_server_killed_in_the_middle_leaves_no_trace(fragile: Server, mode: haarflow.records.Mode) -> None:
    with haarflow.connect(fragile.address) as client:
        whole = client.sample("u1-l8-b2", 4000, seed=7, mode=mode).collect()
        reasons: list[haarflow.HaarflowError] = []
        stream = client.sample("u1-l8-b2", 4000, seed=7, mode=mode, on_resume=reasons.append)
        parts = [next(stream) for _ in range(3)]
        assert 0 < stream.steps < 2000
        fragile.kill()
        fragile.start()
        parts += stream
    assert stream.resumptions >= 1 and reasons and isinstance(reasons[0], haarflow.ServerUnavailable)
    assert_equal_bits(haarflow.concatenate(parts), whole)
    assert stream.statistics == whole.statistics


def test_a_server_that_drains_leaves_no_trace(fragile: Server) -> None:
    with haarflow.connect(fragile.address) as client:
        whole = client.sample("u1-l8-b2", 4000, seed=8).collect()
        stream = client.sample("u1-l8-b2", 4000, seed=8)
        parts = [next(stream)]
        fragile.process.process.send_signal(signal.SIGTERM)
        fragile.process.wait_for("INFO drain")
        # Reading on lets the server end the stream: what was under way, a summary, UNAVAILABLE. Then the client waits for a server.
        restart = threading.Thread(target=lambda: (fragile.drain(), fragile.start()))
        restart.start()
        parts += stream
        restart.join()
    assert stream.resumptions >= 1
    assert_equal_bits(haarflow.concatenate(parts), whole)


def test_patience_ends(fragile: Server) -> None:
    with haarflow.connect(fragile.address, retry=haarflow.Retry(patience=0.5)) as client:
        stream = client.sample("u1-l8-b2", 100_000, seed=7)
        next(stream)
        fragile.kill()
        with pytest.raises(haarflow.ServerUnavailable, match="gave up after 0.5 s"):
            list(stream)
        with pytest.raises(haarflow.ServerUnavailable):
            client.models()


def test_what_is_asked_of_models_and_fields_is_refused_in_words(client: haarflow.Client) -> None:
    with pytest.raises(haarflow.RequestRefused, match='no model is named "nope"') as refused:
        client.sample("nope", 10)
    assert refused.value.code == "NOT_FOUND"
    with pytest.raises(haarflow.RequestRefused, match="has no parameter 'm2'; it has beta"):
        client.sample("u1-l8-b2", 10, parameters={"m2": 1})
    with pytest.raises(haarflow.RequestRefused, match="plaquett"):
        client.sample("u1-l8-b2", 10, observables=["plaquett"])
    with pytest.raises(haarflow.RequestRefused, match="mode 'other'"):
        client.sample("u1-l8-b2", 10, mode="other")  # type: ignore[arg-type]
    with pytest.raises(haarflow.RequestRefused, match="dtype 'int'"):
        client.sample("u1-l8-b2", 10, dtype="int")
    with pytest.raises(haarflow.CorruptData):
        client.sample(resume=b"HFT1" + bytes(40), count=10)
