"""Where the server is and how to speak to it: address, TLS, token; retries of calls. As the command line does (client/README.md)."""

from __future__ import annotations

import os
import random
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from .errors import HaarflowError, RequestRefused, ServerUnavailable, from_rpc

__all__ = ["Connection", "Retry"]

DEFAULT_SERVER = "127.0.0.1:50151"
_MAX_TOKEN_BYTES = 4096
_MAX_PEM_BYTES = 1 << 20
_MAX_MESSAGE_BYTES = 64 << 20

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Retry:
    """How long calls hide that a server is away.

    Parameters
    ----------
    patience : float
        Seconds without any progress before giving up on a server that had answered before. 0: never retry.
    first_pause, longest_pause : float
        Seconds between attempts: doubled from one to the next, with some randomness so that clients do not come back together.
    """

    patience: float = 60.0
    first_pause: float = 0.1
    longest_pause: float = 5.0


class Attempts:
    """The waiting between the attempts of one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.progress()

    def progress(self) -> None:
        """What was asked for goes on: patience begins anew."""
        self._since = time.monotonic()
        self._pause = self._connection.retry.first_pause

    def wait(self, reason: HaarflowError, at_least: float = 0.0) -> None:
        """Sleeps before the next attempt; raises `reason` when patience has run out."""
        pause = max(self._pause * random.uniform(0.75, 1.25), at_least)
        patience = self._connection.patience
        if time.monotonic() - self._since + pause > patience:
            if patience > 0:
                reason.args = (f"{reason} (gave up after {patience:g} s without progress)",)
            raise reason
        time.sleep(pause)
        self._pause = min(2 * self._pause, self._connection.retry.longest_pause)


def check_address(address: str) -> None:
    """Raises RequestRefused for what is neither ``host:port`` nor ``unix:/path``."""
    host, colon, port = address.rpartition(":")
    if address.startswith("unix:") and len(address) > 5:
        return
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise RequestRefused(f'"{address}" is no server address: give host:port, for example {DEFAULT_SERVER}, or unix:/path',
                             "INVALID_ARGUMENT")


def is_loopback(address: str) -> bool:
    return address.startswith(("unix:", "127.", "localhost:", "[::1]:"))


def _read_token(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise RequestRefused(f"the token {path} can be read by others; chmod 600 it", "PERMISSION_DENIED")
        with open(path, "rb") as file:
            text = file.read(_MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise RequestRefused(f"reading the token {path}: {error.strerror}", "NOT_FOUND") from error
    if not text or len(text) > _MAX_TOKEN_BYTES or any(byte <= 0x20 or byte >= 0x7F for byte in text):
        raise RequestRefused(f"{path}: this is no token: printable characters without blanks", "INVALID_ARGUMENT")
    return text.decode("ascii")


def find_token(token_file: str | os.PathLike[str] | None) -> str:
    """The token of `token_file`, else of $HAARFLOW_TOKEN_FILE, else what ``haarflow login`` keeps; "" where there is none."""
    named = token_file or os.environ.get("HAARFLOW_TOKEN_FILE")
    if named:
        return _read_token(Path(named))
    config = os.environ.get("XDG_CONFIG_HOME", "")
    home = os.environ.get("HOME", "")
    if config.startswith("/"):
        kept = Path(config) / "haarflow" / "token"
    elif home.startswith("/"):
        kept = Path(home) / ".config" / "haarflow" / "token"
    else:
        return ""
    return _read_token(kept) if kept.exists() else ""


def _read_pem(path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_PEM_BYTES + 1)
    except OSError as error:
        raise RequestRefused(f"reading {os.fspath(path)}: {error.strerror}", "NOT_FOUND") from error
    if len(text) > _MAX_PEM_BYTES:
        raise RequestRefused(f"{os.fspath(path)} is larger than {_MAX_PEM_BYTES} bytes: this is no PEM file", "INVALID_ARGUMENT")
    return text


def _trace_id() -> str:
    """That of $TRACEPARENT (W3C trace context) where it is valid, as a workflow or a batch job sets it; else a new one."""
    given = re.fullmatch(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", os.environ.get("TRACEPARENT", ""))
    return given[1] if given else f"{random.getrandbits(127) + 1:032x}"


class Connection:
    """A channel to one server, the token that goes with every call, and the patience with restarts. Thread-safe."""

    def __init__(self, address: str, *, token: str, tls: bool, ca_file: str | os.PathLike[str] | None,
                 certificate_file: str | os.PathLike[str] | None, key_file: str | os.PathLike[str] | None, retry: Retry, wait: float,
                 deadline: float) -> None:
        check_address(address)
        encrypted = tls or ca_file is not None or certificate_file is not None
        if token and not encrypted and not is_loopback(address):
            raise RequestRefused(f"a token would travel in clear to {address}: use TLS (tls=True or ca_file=...)", "FAILED_PRECONDITION")
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30000),
            ("grpc.keepalive_timeout_ms", 10000),
            ("grpc.http2.max_pings_without_data", 0),
            # A restarted server is found soon.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Retries are ours: they know where the stream was.
            ("grpc.enable_retries", 0),
            # Clients of one process do not share a connection that one of them may close.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if is_loopback(address):
            # A cluster's http_proxy is not for this machine itself.
            options.append(("grpc.enable_http_proxy", 0))
        if encrypted:
            credentials = grpc.ssl_channel_credentials(_read_pem(ca_file), _read_pem(key_file), _read_pem(certificate_file))
            self.channel = grpc.secure_channel(address, credentials, options)
        else:
            self.channel = grpc.insecure_channel(address, options)
        self.address = address
        self._caller = (("authorization", f"Bearer {token}"),) if token else ()
        self.trace_id = _trace_id()
        self.retry = retry
        self.deadline = deadline
        self._wait = wait
        self._has_answered = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries: the token, and the trace with a parent id of the call's own."""
        return (*self._caller, ("traceparent", f"00-{self.trace_id}-{random.getrandbits(63) + 1:016x}-00"))

    def close(self) -> None:
        self.channel.close()

    def answered(self) -> None:
        """Something came from the server: from now on its absence is a restart."""
        self._has_answered = True

    @property
    def patience(self) -> float:
        """A server that never answered is waited for only as long as connect() was told to."""
        return self.retry.patience if self._has_answered else self._wait

    def error(self, error: grpc.RpcError) -> tuple[HaarflowError, float | None]:
        """The exception for `error`, and the least pause before another attempt: None where there is no sense in one."""
        made = from_rpc(error, self.address, self.trace_id)
        if not isinstance(made, ServerUnavailable):
            self.answered()
            return made, None
        if made.code == "UNAVAILABLE":
            return made, 0.0
        if made.code == "RESOURCE_EXHAUSTED":
            self.answered()
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-retry-pushback-ms" and value.isdigit():
                    return made, int(value) / 1000
        return made, None

    def call(self, method: Callable[..., Answer], request: object, deadline: float | None = None, repeat: bool = True) -> Answer:
        """A call that returns one message, repeated while the server is away; `repeat` is False for calls that may not be."""
        attempts = Attempts(self)
        while True:
            try:
                answer = method(request, timeout=max(self.deadline, deadline or 0.0), metadata=self.metadata)
            except grpc.RpcError as error:
                made, pause = self.error(error)
                if pause is None or not repeat:
                    raise made from None
                attempts.wait(made, pause)
            else:
                self.answered()
                return answer
