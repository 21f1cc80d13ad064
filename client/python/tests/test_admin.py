"""What an operator does, traces, and TLS that asks for certificates: against the real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import haarflow

from conftest import BIN, ROOT, Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def operated(tmp_path: Path) -> Iterator[Server]:
    """A server whose only model has two versions: a perfect sampler, which needs no training, with another description."""
    made = Server(tmp_path, models=("u1-l16-perfect",))
    spec = (ROOT / "deploy" / "specs" / "u1-l16-perfect.txtpb").read_text()
    (tmp_path / "spec.txtpb").write_text(re.sub('description: ".*?"', 'description: "again"', spec, count=1))
    subprocess.run([BIN / "haarflow-trainer", "train", tmp_path / "spec.txtpb", "--store", made.store, "--threads", "1"], check=True, capture_output=True)
    yield made
    made.kill()


def test_an_operators_day(operated: Server) -> None:
    with haarflow.connect(operated.address) as client:
        assert client.admin.refresh().generation >= 2
        assert client.model("u1-l16-perfect").version == 2
        assert client.admin.rollback("u1-l16-perfect").version == 1 == client.model("u1-l16-perfect").version
        assert client.admin.promote("u1-l16-perfect", 2).version == 2
        assert client.admin.pin("u1-l16-perfect", 1).version == 1
        assert client.sample("u1-l16-perfect", 10, seed=1).run.version == 1
        assert client.admin.unpin("u1-l16-perfect").version == 2
        assert client.admin.set_alias("u1-l16-perfect", "candidate", 1).version == 2
        client.admin.set_alias("u1-l16-perfect", "candidate", 0)
        client.admin.unload("u1-l16-perfect")
        # A version goes when its last user lets go of it, after the answer; one that does not, ends the test by its time limit.
        while client.admin.status().model_bytes != 0:
            time.sleep(0.01)
        with client.sample("u1-l16-perfect", 10**9, seed=1, bulk=True) as stream:  # loads it again
            next(stream)
            status = client.admin.status()
            assert [(s.method, s.model, s.version, s.bulk) for s in status.streams] == [("Sample", "u1-l16-perfect", 2, True)]
            assert status.active_streams == 1 and status.model_bytes > 0 and status.resident_bytes > 0 and not status.draining
            assert status.device.startswith("cpu") and status.proposals_drawn > 0
        for refused, code in ((lambda: client.admin.promote("u1-l16-perfect", 9), "NOT_FOUND"), (lambda: client.admin.pin("nope", 1), "NOT_FOUND"),
                              (lambda: client.admin.set_alias("u1-l16-perfect", "champion", 0), "INVALID_ARGUMENT"),
                              (lambda: client.admin.rollback("nope"), "NOT_FOUND"), (lambda: client.cancel("nope"), "")):
            with pytest.raises(haarflow.RequestRefused) as error:
                refused()
            assert not code or error.value.code == code, str(error.value)


def test_errors_can_be_found_in_the_servers_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path, models=("u1-l8-b2",))
    try:
        with haarflow.connect(server.address) as one, haarflow.connect(server.address) as other:
            assert re.fullmatch("[0-9a-f]{32}", one.trace_id) and one.trace_id != other.trace_id
            with pytest.raises(haarflow.RequestRefused) as error:
                one.admin.rollback("u1-l8-b2")
            assert error.value.trace_id == one.trace_id and str(error.value).endswith(f"(trace {one.trace_id})")
            assert one.trace_id in server.process.wait_for(r".*audit method=Rollback.*")
        monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-00f067aa0ba902b7-01")
        with haarflow.connect(server.address) as workflows:
            assert workflows.trace_id == TRACE
            with pytest.raises(haarflow.RequestRefused, match=f"trace {TRACE}"):
                workflows.model("nope")
        done = subprocess.run([BIN / "haarflow", "--server", server.address, "model", "nope"], check=False, capture_output=True, text=True)
        assert done.stderr.rstrip().endswith(f"(trace {TRACE})")
        for malformed in ("", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7"):
            monkeypatch.setenv("TRACEPARENT", malformed)
            with haarflow.connect(server.address) as client:
                assert client.trace_id != TRACE and re.fullmatch("[0-9a-f]{32}", client.trace_id)
        monkeypatch.delenv("TRACEPARENT")
        done = subprocess.run([BIN / "haarflow", "--server", server.address, "rollback", "u1-l8-b2"], check=False, capture_output=True, text=True)
        named = re.search(r"\(trace ([0-9a-f]{32})\)$", done.stderr.rstrip())
        assert named is not None, done.stderr
        server.process.wait_for(named[1])
    finally:
        server.kill()


# ---------------------------------------------------------------------------------------------------------------- mTLS


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def certificates(directory: Path, name: str) -> None:
    """NAME.ca, and NAME.crt with NAME.key that it signed, for localhost."""
    openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name} authority",
            "-keyout", f"{name}.ca.key", "-out", f"{name}.ca")
    openssl(directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (directory / "extensions").write_text("subjectAltName=DNS:localhost\n")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}.ca", "-CAkey", f"{name}.ca.key", "-CAcreateserial", "-days", "2", "-extfile",
            "extensions", "-out", f"{name}.crt")
    (directory / f"{name}.key").chmod(0o600)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_server_that_asks_for_certificates(tmp_path: Path) -> None:
    for name in ("server", "client", "stranger"):
        certificates(tmp_path, name)
    server = Server(tmp_path, "--tls-cert", str(tmp_path / "server.crt"), "--tls-key", str(tmp_path / "server.key"), "--tls-client-ca",
                    str(tmp_path / "client.ca"), "--endpoint-file", str(tmp_path / "endpoint.json"), models=("u1-l8-b2",), listen="localhost:0")
    try:
        port = json.loads((tmp_path / "endpoint.json").read_text())["address"].rsplit(":", 1)[1]
        address = f"localhost:{port}"
        files = {"ca_file": tmp_path / "server.ca", "certificate_file": tmp_path / "client.crt", "key_file": tmp_path / "client.key"}
        with haarflow.connect(address, **files) as client:
            assert [model.name for model in client.models()] == ["u1-l8-b2"]
            assert client.sample("u1-l8-b2", 500, seed=1).collect().steps == 500
        wrong = [{}, {"ca_file": files["ca_file"]}, {**files, "ca_file": tmp_path / "stranger.ca"},
                 {**files, "certificate_file": tmp_path / "stranger.crt", "key_file": tmp_path / "stranger.key"}]
        for some in wrong:
            with haarflow.connect(address, **some) as client, pytest.raises(haarflow.ServerUnavailable):
                client.models()
        with pytest.raises(haarflow.RequestRefused, match="absent.pem"):
            haarflow.connect(address, ca_file=tmp_path / "absent.pem")

        def command(ca: str, shown: str) -> subprocess.CompletedProcess[str]:
            shows = ["--tls-cert", tmp_path / f"{shown}.crt", "--tls-key", tmp_path / f"{shown}.key"] if shown else []
            return subprocess.run([BIN / "haarflow", "--server", address, "--tls-ca", tmp_path / ca, *shows, "sample", "u1-l8-b2", "-n", "500",
                                   "--seed", "1", "-o", tmp_path / "out.h5", "--force"], check=False, capture_output=True, text=True)

        good = command("server.ca", "client")
        assert good.returncode == 0, good.stderr
        for ca, shown in (("server.ca", ""), ("server.ca", "stranger"), ("stranger.ca", "client")):
            done = command(ca, shown)
            assert done.returncode == 3, done.stderr  # unreachable
    finally:
        server.kill()
