"""What an operator does: which version serves, what is in memory, who is connected. `Client.admin`; needs a token of the role admin, where
the server has tokens."""

from __future__ import annotations

from dataclasses import dataclass

from .connection import Connection
from .records import Model
from .v1 import admin_pb2, admin_pb2_grpc, sampler_pb2

__all__ = ["Admin", "Refreshed", "ServerStatus", "Stream"]

# A promotion waits until the version is verified, loaded and checked.
_SLOW_SECONDS = 300.0


@dataclass(frozen=True)
class Stream:
    """A call that runs.

    Attributes
    ----------
    id : int
    method, model, principal : str
        ``"Sample"``, ...; whose it is: a token's or certificate's name, else the host.
    version, proposals : int
        Of the model; drawn for it.
    bulk : bool
        It gives way to interactive work.
    seconds : float
        Since it was admitted.
    """

    id: int
    method: str
    model: str
    version: int
    principal: str
    bulk: bool
    proposals: int
    seconds: float


@dataclass(frozen=True)
class ServerStatus:
    """How the server is.

    Attributes
    ----------
    device, numerics_class, code_version : str
    draining : bool
    uptime_seconds : float
    proposals_drawn : int
        Since the start.
    streams : list of Stream
        The oldest first, at most 1000.
    active_streams, max_streams : int
    reserved_bytes, byte_budget, model_bytes, model_byte_budget, resident_bytes : int
        Of stream buffers, of models in memory (budget 0: none), of the process.
    """

    device: str
    numerics_class: str
    code_version: str
    draining: bool
    uptime_seconds: float
    proposals_drawn: int
    streams: list[Stream]
    active_streams: int
    max_streams: int
    reserved_bytes: int
    byte_budget: int
    model_bytes: int
    model_byte_budget: int
    resident_bytes: int

    @classmethod
    def of(cls, m: admin_pb2.GetServerStatusResponse) -> ServerStatus:
        """From the wire."""
        streams = [Stream(s.id, s.method, s.model, s.version, s.principal, s.priority == sampler_pb2.PRIORITY_BULK, s.proposals, s.seconds)
                   for s in m.streams]
        return cls(m.server.device, m.server.numerics_class, m.server.code_version, m.draining, m.uptime_seconds, m.proposals_drawn, streams,
                   m.active_streams, m.max_streams, m.reserved_bytes, m.byte_budget, m.model_bytes, m.model_byte_budget, m.resident_bytes)


@dataclass(frozen=True)
class Refreshed:
    """What a look at the store found.

    Attributes
    ----------
    generation : int
        The largest of all models' index generations.
    swaps, refusals : int
        Versions brought into service, and refused; `Client.models` has the reasons.
    """

    generation: int
    swaps: int
    refusals: int


class Admin:
    """Acts on one server; made by `Client.admin`. Thread-safe.

    Every call may be repeated, and is while a server restarts: the second one finds what it wants done.

    Examples
    --------
    >>> client.admin.promote("u1-l16-b2", 3)
    >>> client.admin.rollback("u1-l16-b2")
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = admin_pb2_grpc.AdminServiceStub(connection.channel)

    def set_alias(self, model: str, alias: str, version: int) -> Model:
        """Gives a version a name; 0 takes the name away, which is not possible for the champion.

        Parameters
        ----------
        model : str
        alias : {"champion", "candidate"}
            The champion serves; it is loaded, checked and compared with the one before first.
        version : int

        Returns
        -------
        Model
            As it serves now.

        Raises
        ------
        RequestRefused
            There is no such version (NOT_FOUND), or it did not pass its checks (FAILED_PRECONDITION).
        """
        request = admin_pb2.SetAliasRequest(model=model, alias=alias, version=version)
        return Model.of(self._connection.call(self._stub.SetAlias, request, _SLOW_SECONDS).model)

    def promote(self, model: str, version: int) -> Model:
        """Makes a version the champion, after its checks: `set_alias` of ``"champion"``."""
        return self.set_alias(model, "champion", version)

    def rollback(self, model: str) -> Model:
        """Makes the champion of before champion again. Never repeated: twice is back."""
        return Model.of(self._connection.call(self._stub.Rollback, admin_pb2.RollbackRequest(model=model), _SLOW_SECONDS, repeat=False).model)

    def pin(self, model: str, version: int) -> Model:
        """Serves this version, whatever the champion is, until `unpin`. Of this server alone, and while it runs."""
        return Model.of(self._connection.call(self._stub.Pin, admin_pb2.PinRequest(model=model, version=version), _SLOW_SECONDS).model)

    def unpin(self, model: str) -> Model:
        """Serves the champion again."""
        return self.pin(model, 0)

    def unload(self, model: str) -> None:
        """Takes a model out of memory until a request needs it; calls that use it finish first."""
        self._connection.call(self._stub.UnloadModel, admin_pb2.UnloadModelRequest(model=model))

    def refresh(self) -> Refreshed:
        """Has the server look at its store now, rather than when it next would."""
        answer = self._connection.call(self._stub.NotifyStoreChanged, admin_pb2.NotifyStoreChangedRequest(), _SLOW_SECONDS)
        return Refreshed(answer.generation, answer.swaps, answer.refusals)

    def status(self) -> ServerStatus:
        """How the server is, and who is connected."""
        return ServerStatus.of(self._connection.call(self._stub.GetServerStatus, admin_pb2.GetServerStatusRequest()))
