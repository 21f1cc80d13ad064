"""What can go wrong, as exceptions. Each message names the object, the value and the remedy."""

from __future__ import annotations

import grpc

__all__ = ["CorruptData", "HaarflowError", "JobFailed", "RequestRefused", "ServerUnavailable", "from_rpc"]


class HaarflowError(Exception):
    """Base of all errors of this package.

    Attributes
    ----------
    code : str
        Name of the gRPC status code, ``"NOT_FOUND"`` for example.
    """

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailable(HaarflowError):
    """No server answers, it is draining, full, or did not answer in time (UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED)."""


class RequestRefused(HaarflowError):
    """The server will not do it: an unknown model, a wrong field, a missing token; `code` says which."""


class CorruptData(HaarflowError):
    """What came from the server or a file contradicts itself, by checksum or by structure (DATA_LOSS)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "DATA_LOSS")


class JobFailed(HaarflowError):
    """A re-tuning job that was waited for failed or was cancelled."""


_UNAVAILABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


def from_rpc(error: grpc.RpcError, address: str) -> HaarflowError:
    """The exception for a call that ended with `error` at `address`."""
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
        return ServerUnavailable(
            f"no server answers at {address} ({details.rsplit(': ', 1)[-1]}): start haarflow-server, or give its address to "
            "connect() or in $HAARFLOW_SERVER", code.name)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnavailable(f"the server at {address} did not answer in time", code.name)
    if code in _UNAVAILABLE:
        return ServerUnavailable(f"the server at {address}: {details}", code.name)
    if code == grpc.StatusCode.DATA_LOSS:
        return CorruptData(details)
    return RequestRefused(details, code.name)
