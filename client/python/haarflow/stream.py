"""One Sample call, kept alive across connections: the joined chain is the unbroken one, bit for bit. As client/sample_stream.cc."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import google_crc32c
import grpc
import numpy as np

from . import theory
from .connection import Attempts, Connection
from .errors import CorruptData, HaarflowError, RequestRefused, ServerUnavailable
from .records import Batch, Run, Statistics, concatenate
from .v1 import sampler_pb2, sampler_pb2_grpc

__all__ = ["SampleStream"]

_MAX_INDEX = (1 << 56) - 1
_MAX_CONFIGURATION_BYTES = 1 << 34
_CONVENTIONS = {"u1_wilson": 1, "phi4": 2, "sun_wilson": 3, "sun_matrix": 3}
_METROPOLIS = sampler_pb2.SAMPLE_MODE_METROPOLIS
_REWEIGHTED = sampler_pb2.SAMPLE_MODE_REWEIGHTED


def _corrupt(what: str) -> CorruptData:
    return CorruptData(f"sample stream: {what}")


def _check_header(header: sampler_pb2.SampleHeader) -> None:
    if header.convention not in _CONVENTIONS.values():
        raise RequestRefused(f"the stream uses field convention {header.convention}; this package knows 1 to 3: update it",
                             "FAILED_PRECONDITION")
    if len(header.model_digest) != 32 or len(header.target_digest) != 32:
        raise _corrupt("a digest is not 32 bytes")
    if header.mode not in (_METROPOLIS, _REWEIGHTED):
        raise _corrupt(f"unknown mode {header.mode}")
    if header.configuration_bytes == 0:
        return
    if header.convention != _CONVENTIONS.get(header.target.WhichOneof("theory") or ""):
        raise _corrupt(f"field convention {header.convention} is not that of the target")
    shape = theory.field_shape(header.target)
    if tuple(header.shape) != shape:
        raise _corrupt("shape is not that of the target's fields")
    size = 4 if header.precision == sampler_pb2.FIELD_PRECISION_FLOAT32 else 8
    for extent in shape:
        size *= extent
    if size > _MAX_CONFIGURATION_BYTES:
        raise _corrupt("a configuration would have more than 16 GiB")
    if size != header.configuration_bytes:
        raise _corrupt(f"configuration_bytes is {header.configuration_bytes}, its shape needs {size}")


def _check_continues(first: sampler_pb2.SampleHeader, following: sampler_pb2.SampleHeader) -> None:
    for what in ("model_digest", "target_digest", "seed", "mode", "configuration_bytes", "precision"):
        if getattr(first, what) != getattr(following, what):
            raise _corrupt(f"the resumed part has another {what} than the first: it is not the same chain")
    if list(first.observables) != list(following.observables):
        raise _corrupt("the resumed part has another list of observables than the first: it is not the same chain")


class Assembler:
    """Checks messages one after the other and makes batches of them; what the stream has said so far. One thread."""

    def __init__(self) -> None:
        self.header: sampler_pb2.SampleHeader | None = None
        self.run: Run | None = None
        self.steps = 0  # METROPOLIS: sum of multiplicities; REWEIGHTED: proposals looked at
        self.token = b""
        self.statistics = Statistics.of(sampler_pb2.ChainStatistics())
        self.complete = False
        self._proposals_before: int | None = None  # REWEIGHTED: looked at before the first header
        self._last_index: int | None = None
        self._part_begins = False
        self._ended = False
        self._open: list[bytes] = []  # parts of a configuration that is larger than a chunk
        self._open_bytes = 0
        self._open_index = 0

    def add(self, message: sampler_pb2.SampleResponse) -> Batch | None:
        """The configurations that `message` completes."""
        part = message.WhichOneof("part")
        if part == "header":
            self._add_header(message.header)
            return None
        if self.header is None:
            raise _corrupt("does not begin with a header")
        if self._ended:
            raise _corrupt("goes on after its summary")
        if part == "chunk":
            return self._add_chunk(message.chunk)
        if part != "summary":
            raise _corrupt("holds a message of an unknown kind")
        self._add_summary(message.summary)
        return None

    @property
    def metropolis(self) -> bool:
        assert self.header is not None
        return bool(self.header.mode == _METROPOLIS)

    def _add_header(self, header: sampler_pb2.SampleHeader) -> None:
        _check_header(header)
        if self.header is None:
            self.header, self.run = header, Run.of(header)
        else:
            _check_continues(self.header, header)
        self._drop_open()
        self._part_begins = True
        self._ended = self.complete = False

    def _drop_open(self) -> None:
        self._open, self._open_bytes = [], 0

    def _check_chunk(self, chunk: sampler_pb2.SampleChunk) -> None:
        assert self.header is not None
        n = len(chunk.index)
        columns = [len(chunk.log_weight), len(chunk.log_q), len(chunk.action), *(len(column.value) for column in chunk.observables)]
        if any(length != n for length in columns) or len(chunk.multiplicity) != (n if self.metropolis else 0):
            raise _corrupt("columns of a chunk differ in length")
        if len(chunk.observables) != len(self.header.observables):
            raise _corrupt(f"a chunk has {len(chunk.observables)} observables, the header names {len(self.header.observables)}")
        size, total, each = len(chunk.payload), chunk.payload_total, self.header.configuration_bytes
        if each == 0:
            if size or total:
                raise _corrupt("a payload although fields were omitted")
            return
        if google_crc32c.value(chunk.payload) != chunk.crc32c:
            raise _corrupt("CRC-32C of a chunk's payload does not match: bytes were altered on the way")
        if total != n * each:
            raise _corrupt(f"a chunk of {n} configurations claims {total} bytes")
        if chunk.payload_offset != self._open_bytes:
            raise _corrupt(f"a chunk begins at byte {chunk.payload_offset}, expected {self._open_bytes}")
        if size > total - chunk.payload_offset or (size != total and (n != 1 or size == 0)):
            raise _corrupt("a chunk's payload does not fit its total")
        if self._open_bytes and chunk.index[0] != self._open_index:
            raise _corrupt("the parts of a configuration disagree about what it is")

    def _add_chunk(self, chunk: sampler_pb2.SampleChunk) -> Batch | None:
        self._check_chunk(chunk)
        payload = chunk.payload
        if len(payload) != chunk.payload_total:
            self._open.append(payload)
            self._open_bytes += len(payload)
            self._open_index = chunk.index[0]
            if self._open_bytes == chunk.payload_total:
                payload = b"".join(self._open)
                self._drop_open()
        complete = self._open_bytes == 0
        index = np.array(chunk.index, dtype=np.uint64)
        if complete and index.size:
            self._count(index, chunk)
        if chunk.resume_token:
            self.token = chunk.resume_token
        if chunk.HasField("statistics"):
            self._take_statistics(chunk.statistics)
        return self._batch(index, payload, chunk) if complete and index.size else None

    def _count(self, index: np.ndarray[Any, Any], chunk: sampler_pb2.SampleChunk) -> None:
        assert self.header is not None
        first, last = int(index[0]), int(index[-1])
        if np.any(index[1:] <= index[:-1]) or last > _MAX_INDEX:
            raise _corrupt("indices do not ascend, or are out of range")
        # A chain that was cut delivers its open state in both parts.
        may_repeat = self._part_begins and self.metropolis
        if self._last_index is not None and (first < self._last_index or (first == self._last_index and not may_repeat)):
            raise _corrupt(f"index {first} after {self._last_index}")
        if self.metropolis:
            if min(chunk.multiplicity) == 0:
                raise _corrupt("a configuration has multiplicity 0")
            self.steps += sum(chunk.multiplicity)
        else:
            if first < self.header.next_index:
                raise _corrupt(f"index {first} before the first")
            self.steps = last - self.header.next_index + 1
        self._last_index = last
        self._part_begins = False

    def _take_statistics(self, statistics: sampler_pb2.ChainStatistics) -> None:
        self.statistics = Statistics.of(statistics)
        if not self.metropolis and self._proposals_before is None and not self._open_bytes and statistics.proposals >= self.steps:
            self._proposals_before = statistics.proposals - self.steps

    def _add_summary(self, summary: sampler_pb2.SampleSummary) -> None:
        if self._open_bytes:
            raise _corrupt("ends inside a configuration")
        self._ended, self.complete = True, summary.complete
        self.statistics = Statistics.of(summary.statistics)
        # REWEIGHTED: the last proposals may have no valid weight, hence no row.
        if not self.metropolis and self._proposals_before is not None:
            self.steps = max(self.steps, summary.statistics.proposals - self._proposals_before)
        if summary.resume_token:
            self.token = summary.resume_token

    def _batch(self, index: np.ndarray[Any, Any], payload: bytes, chunk: sampler_pb2.SampleChunk) -> Batch:
        assert self.header is not None and self.run is not None
        n, run, fields = index.size, self.run, None
        if run.dtype:
            little = np.dtype(run.dtype).newbyteorder("<")
            fields = np.frombuffer(payload, little).reshape(n, *run.shape).astype(run.dtype)  # a copy: writable
        multiplicity = np.array(chunk.multiplicity, dtype=np.uint64) if self.metropolis else np.ones(n, np.uint64)
        observables = {name: np.array(column.value) for name, column in zip(run.observables, chunk.observables, strict=True)}
        return Batch(run, fields, index, multiplicity, np.array(chunk.log_weight), np.array(chunk.log_q), np.array(chunk.action),
                     observables, self.token, self.statistics)


class SampleStream(Iterator[Batch]):
    """Batches of configurations, as the server sends them. An iterator and a context manager; made by `Client.sample`.

    A server that goes away in the middle (restart, drain, lost connection) is waited for, and the stream goes on from the last token:
    bit for bit the chain that an unbroken stream would have been, within one numerics class.

    Attributes
    ----------
    run : Run
        What names the stream; `run.seed` is the server's choice if none was given.
    statistics : Statistics
        Of the chain so far; of all of it at the end.
    token : bytes
        Goes on after the last batch that was handed out.
    resumptions : int
        How often the stream was continued after a break.
    """

    def __init__(self, connection: Connection, request: sampler_pb2.SampleRequest, at_least: int,
                 on_resume: Callable[[HaarflowError], None] | None) -> None:
        self._connection = connection
        self._stub = sampler_pb2_grpc.SamplerServiceStub(connection.channel)
        self._request = request
        self._at_least = max(1, at_least)
        self._on_resume = on_resume
        self._received = Assembler()
        self._call: Any = None
        self.resumptions = 0
        self._first: Batch | None = None
        self._batches = self._deliver()
        first = next(self._batches, None)
        if first is not None:
            raise AssertionError("the first item of _deliver() is the header's")

    @property
    def run(self) -> Run:
        assert self._received.run is not None
        return self._received.run

    @property
    def statistics(self) -> Statistics:
        return self._received.statistics

    @property
    def token(self) -> bytes:
        return self._received.token

    @property
    def steps(self) -> int:
        """Chain steps received; REWEIGHTED: proposals."""
        return self._received.steps

    def __next__(self) -> Batch:
        parts: list[Batch] = []
        for batch in self._batches:
            assert batch is not None
            parts.append(batch)
            if sum(len(part) for part in parts) >= self._at_least:
                break
        if not parts:
            raise StopIteration
        return concatenate(parts)

    def collect(self) -> Batch:
        """All that is left, as one batch; the whole stream has to fit into memory."""
        return concatenate(self)

    def close(self) -> None:
        """Ends the call; the token stays valid."""
        self._batches.close()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> SampleStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self) -> Generator[Batch | None, None, None]:
        """None when the header has come, then batches."""
        received, attempts = self._received, Attempts(self._connection)
        begun = False
        while True:
            steps_before = received.steps
            reason, pause = ServerUnavailable(f"the server at {self._connection.address} ended the stream early", "UNAVAILABLE"), 0.0
            self._call = self._stub.Sample(self._rest(), metadata=self._connection.metadata)
            try:
                for message in self._call:
                    self._connection.answered()
                    batch = received.add(message)
                    if received.steps > self._request.count:
                        raise _corrupt(f"the server sent {received.steps} steps, {self._request.count} were asked for")
                    if not begun:
                        begun = True
                        yield None
                    if batch is not None:
                        yield batch
            except grpc.RpcError as error:
                made, sense = self._connection.error(error)
                if sense is None:
                    raise made from None
                reason, pause = made, sense  # type: ignore[assignment]
            finally:
                self._call.cancel()
            if received.steps == self._request.count and begun:
                return  # all came, perhaps without the summary
            if received.complete:
                raise _corrupt(f"the server said it was complete after {received.steps} of {self._request.count} steps")
            if received.steps > steps_before:
                attempts.progress()
            if begun and self._on_resume is not None:
                self._on_resume(reason)
            attempts.wait(reason, pause)
            self.resumptions += begun

    def _rest(self) -> sampler_pb2.SampleRequest:
        """The request for what is missing."""
        rest = sampler_pb2.SampleRequest()
        rest.CopyFrom(self._request)
        header = self._received.header
        if header is None:
            return rest
        if not self._received.token:
            # Nothing was drawn yet; the chain has its name already.
            if not rest.resume_token:
                rest.model_digest, rest.seed = header.model_digest, header.seed
            return rest
        for name in ("model", "model_digest", "target", "mode", "seed", "first_index", "burn_in"):
            rest.ClearField(name)
        rest.resume_token = self._received.token
        rest.count = self._request.count - self._received.steps
        return rest
