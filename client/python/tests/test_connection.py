"""Addresses, tokens, TLS, models; and re-tuning with a real trainer."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import haarflow
from haarflow.connection import find_token

from conftest import Process, Server

TOKEN = "hft_" + "ab" * 32


def token_files(directory: Path, roles: str = "sampler") -> tuple[Path, Path]:
    """Ours, and the server's."""
    ours, theirs = directory / "token", directory / "tokens"
    ours.write_text(TOKEN + "\n")
    theirs.write_text(f"alice {roles} sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    for path in (ours, theirs):
        path.chmod(0o600)
    return ours, theirs


def test_models_are_listed(client: haarflow.Client) -> None:
    models = {model.name: model for model in client.models()}
    assert {"u1-l8-b2", "phi4-l6-e1"} <= set(models)
    model = client.model("u1-l8-b2")
    assert model == models["u1-l8-b2"]
    assert (model.theory, model.lattice, model.state) == ("U(1) Wilson, beta = 2", "8x8", "READY") and model.ess > 0.99
    assert haarflow.parameters(model.target) == {"beta": 2.0} and len(model.digest) == 64
    assert 'name: "u1-l8-b2"' in client.spec("u1-l8-b2")
    scalar = client.target("phi4-l6-e1", {"lambda": 6.0}, lattice=[8, 8])
    assert haarflow.parameters(scalar) == {"m2": -4.0, "lambda": 6.0, "normalisation": 1.0} and list(scalar.lattice.shape) == [8, 8]


def test_the_server_is_found_by_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAARFLOW_SERVER", server.address)
    assert haarflow.connect().models()


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:123456", "host:12x", "unix:"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(haarflow.RequestRefused, match="is no server address"):
        haarflow.connect(address)


def test_an_absent_server_is_an_error_at_once_unless_one_waits() -> None:
    with pytest.raises(haarflow.ServerUnavailable, match="no server answers at 127.0.0.1:1 .*: start haarflow-server"):
        haarflow.connect("127.0.0.1:1").sample("u1-l8-b2", 10, observables=[])
    with pytest.raises(haarflow.ServerUnavailable, match="gave up after 0.3 s"):
        haarflow.connect("127.0.0.1:1", wait=0.3).models()


def test_tokens_are_found_as_the_command_line_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token(None) == ""
    kept = tmp_path / "config" / "haarflow"
    kept.mkdir(parents=True)
    (kept / "token").write_text("kept\n")
    (kept / "token").chmod(0o600)
    assert find_token(None) == "kept"
    other = tmp_path / "other"
    other.write_text("other")
    other.chmod(0o600)
    monkeypatch.setenv("HAARFLOW_TOKEN_FILE", str(other))
    assert find_token(None) == "other" and find_token(kept / "token") == "kept"
    other.chmod(0o644)
    with pytest.raises(haarflow.RequestRefused, match="chmod 600"):
        find_token(None)
    other.chmod(0o600)
    for content in ("", "two words", "x" * 5000):
        other.write_text(content)
        with pytest.raises(haarflow.RequestRefused, match="is no token"):
            find_token(None)
    with pytest.raises(haarflow.RequestRefused, match="No such file"):
        find_token(tmp_path / "absent")


def test_a_token_never_travels_in_clear(tmp_path: Path) -> None:
    ours, _ = token_files(tmp_path)
    with pytest.raises(haarflow.RequestRefused, match="would travel in clear to example.org:50151"):
        haarflow.connect("example.org:50151", token_file=ours)
    haarflow.connect("example.org:50151", token_file=ours, tls=True).close()


def test_a_server_with_tokens_and_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)], check=True,
                   capture_output=True)
    key.chmod(0o600)
    ours, theirs = token_files(tmp_path)
    server = Server(tmp_path, "--token-file", str(theirs), "--tls-cert", str(certificate), "--tls-key", str(key), "--endpoint-file",
                    str(tmp_path / "endpoint"), models=("u1-l8-b2",), listen="127.0.0.1:0")
    port = server.process.wait_for(r"address=127.0.0.1:\d+").rpartition(":")[2]
    address = f"localhost:{port}"
    try:
        with haarflow.connect(address, ca_file=certificate) as nobody, pytest.raises(haarflow.RequestRefused) as refused:
            nobody.models()
        assert refused.value.code == "UNAUTHENTICATED"
        with haarflow.connect(address, ca_file=certificate, token_file=ours) as alice:
            assert alice.sample("u1-l8-b2", 10).collect().steps == 10
            with pytest.raises(haarflow.RequestRefused) as refused:
                alice.jobs()
            assert refused.value.code == "PERMISSION_DENIED"
        with haarflow.connect(address, tls=True, token_file=ours) as distrustful, pytest.raises(haarflow.ServerUnavailable):
            distrustful.models()
        with pytest.raises(haarflow.RequestRefused, match="No such file"):
            haarflow.connect(address, ca_file=tmp_path / "absent.pem")
    finally:
        server.kill()


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[tuple[Server, Process]]:
    server = Server(tmp_path, "--jobs", str(tmp_path / "jobs"), models=("u1-l8-b2",))
    worker = Process("haarflow-trainer", "work", "--server", server.address)
    yield server, worker
    worker.end(9)
    server.kill()


def test_a_server_without_jobs_says_so(client: haarflow.Client) -> None:
    with pytest.raises(haarflow.RequestRefused, match="--jobs") as refused:
        client.retune("u1-l8-b2", {"beta": 2.2})
    assert refused.value.code == "FAILED_PRECONDITION"


def test_retuning_is_watched_to_its_end(trainer: tuple[Server, Process]) -> None:
    server, _ = trainer
    with haarflow.connect(server.address) as client:
        handle = client.retune("u1-l8-b2", {"beta": 2.05}, ess=0.9, budget_seconds=60, publish_as="u1-new", key="once")
        again = client.retune("u1-l8-b2", {"beta": 2.05}, ess=0.9, budget_seconds=60, publish_as="u1-new", key="once")
        assert again.id == handle.id and [job.id for job in client.jobs()] == [handle.id]
        states: list[str] = []
        job = handle.wait(lambda job: states.append(job.state))
        assert job.state == "SUCCEEDED" and states[-1] == "SUCCEEDED" and len(states) > 1
        assert job.model == "u1-new" and job.version == 1 and job.ess > 0.9
        assert haarflow.parameters(client.model("u1-new").target) == {"beta": 2.05}
        impossible = client.retune("u1-l8-b2", {"beta": 9.0}, ess=0.999999, budget_seconds=600, publish_as="u1-other")
        impossible.cancel()
        with pytest.raises(haarflow.JobFailed, match="cancelled"):
            impossible.wait()
        assert client.job(impossible.id).latest.state == "CANCELLED"
