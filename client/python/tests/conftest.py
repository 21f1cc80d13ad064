"""The real server, on a Unix socket of a temporary directory, with a few of the bundled models. $HAARFLOW_BIN_DIR says where the binaries are."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import haarflow

ROOT = Path(os.environ.get("HAARFLOW_SOURCE_DIR", Path(__file__).resolve().parents[3]))
BIN = Path(os.environ.get("HAARFLOW_BIN_DIR", ROOT / "build" / "release" / "bin"))
MODELS = ("u1-l8-b2", "u1-l16-perfect", "su2-l16-perfect", "su2-matrix-b9", "su3-matrix-b9", "su3-l16-perfect", "phi4-l6-e1", "su3-4x4x4x4-b1-leading")
# What one chunk holds at most: small, so that streams have many.
CHUNK = 65536


class Process:
    """One of our binaries; its output is read all the time and waited on, never a clock alone."""

    def __init__(self, binary: str, *arguments: str) -> None:
        self.process = subprocess.Popen([str(BIN / binary), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self.process.wait()
            self._changed.notify_all()

    def wait_for(self, text: str) -> str:
        with self._changed:
            self._changed.wait_for(lambda: re.search(text, self.output) or self.process.returncode is not None, timeout=120)
            found = re.search(text, self.output)
        assert found, f"no '{text}' in:\n{self.output}"
        return found.group(0)

    def end(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self._reader.join(timeout=120)
        assert self.process.poll() is not None, self.output


class Server:
    """A haarflow-server that can be killed and started again at the same address."""

    def __init__(self, directory: Path, *arguments: str, models: tuple[str, ...] = MODELS, listen: str = "") -> None:
        self.store = directory / "store"
        for model in models:
            shutil.copytree(ROOT / "deploy" / "models" / model, self.store / model)
        self.address = listen or f"unix:{directory / 's'}"
        self._arguments = arguments
        self.start()

    def start(self, *more: str) -> None:
        self.process = Process("haarflow-server", "--store", str(self.store), "--listen", self.address, "--device", "cpu:1",
                               "--max-chunk-bytes", str(CHUNK), *self._arguments, *more)
        self.process.wait_for("INFO serving address=")

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        self.process.end(signal.SIGKILL)

    def drain(self) -> None:
        """In good order: streams end with a token."""
        self.process.end(signal.SIGTERM)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    yield made
    made.kill()


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Server]:
    """A server of its own, for a test that ends it."""
    made = Server(tmp_path, models=("u1-l8-b2",))
    yield made
    made.kill()


@pytest.fixture
def client(server: Server) -> Iterator[haarflow.Client]:
    with haarflow.connect(server.address) as made:
        yield made


@pytest.fixture(autouse=True)
def no_token_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user who runs the tests."""
    for name in ("HAARFLOW_SERVER", "HAARFLOW_TOKEN_FILE", "HAARFLOW_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
