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
    trace_id : str
        Of the call, as in the server's logs; "" for errors that are none of a call. It is in the message too.
    """

    def __init__(self, message: str, code: str = "UNKNOWN", trace_id: str = "") -> None:
        super().__init__(f"{message} (trace {trace_id})" if trace_id else message)
        self.code = code
        self.trace_id = trace_id


class ServerUnavailable(HaarflowError):
    """No server answers, it is draining, full, or did not answer in time (UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED)."""


class RequestRefused(HaarflowError):
    """The server will not do it: an unknown model, a wrong field, a missing token; `code` says which."""


class CorruptData(HaarflowError):
    """What came from the server or a file contradicts itself, by checksum or by structure (DATA_LOSS)."""

    def __init__(self, message: str, trace_id: str = "") -> None:
        super().__init__(message, "DATA_LOSS", trace_id)


class JobFailed(HaarflowError):
    """A re-tuning job that was waited for failed or was cancelled."""


_UNAVAILABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


def from_rpc(error: grpc.RpcError, address: str, trace_id: str = "") -> HaarflowError:
    """The exception for a call of a trace that ended with `error` at `address`."""
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
        return ServerUnavailable(
            f"no server answers at {address} ({details.rsplit(': ', 1)[-1]}): start haarflow-server, or give its address to "
            "connect() or in $HAARFLOW_SERVER", code.name, trace_id)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnavailable(f"the server at {address} did not answer in time", code.name, trace_id)
    if code in _UNAVAILABLE:
        return ServerUnavailable(f"the server at {address}: {details}", code.name, trace_id)
    if code == grpc.StatusCode.DATA_LOSS:
        return CorruptData(details, trace_id)
    return RequestRefused(details, code.name, trace_id)
