"""Streams that contradict themselves are found out, whatever the contradiction."""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c
import numpy as np
import pytest

import haarflow
from haarflow.stream import Assembler
from haarflow.v1 import model_pb2, sampler_pb2


def header(mode: int = sampler_pb2.SAMPLE_MODE_METROPOLIS) -> sampler_pb2.SampleHeader:
    target = model_pb2.Target(lattice=model_pb2.Lattice(shape=[2, 2]), u1_wilson=model_pb2.U1WilsonAction(beta=1))
    return sampler_pb2.SampleHeader(model="m", model_digest=bytes(32), target=target, target_digest=bytes(32), mode=mode, seed=1, count=10,
                                    precision=sampler_pb2.FIELD_PRECISION_FLOAT64, shape=[2, 2, 2], configuration_bytes=64, convention=1,
                                    observables=["plaquette"])


def chunk(first: int = 0, n: int = 2) -> sampler_pb2.SampleChunk:
    payload = np.arange(8.0 * n).tobytes()
    return sampler_pb2.SampleChunk(
        index=range(first, first + n), multiplicity=[1] * n, log_weight=[0.0] * n, log_q=[0.0] * n, action=[0.0] * n,
        observables=[sampler_pb2.ObservableColumn(value=[0.5] * n)], payload=payload, payload_total=len(payload),
        crc32c=google_crc32c.value(payload), resume_token=b"t")


def feed(*parts: object) -> list[haarflow.Batch]:
    assembler = Assembler()
    names = {"SampleHeader": "header", "SampleChunk": "chunk", "SampleSummary": "summary"}
    made = [assembler.add(sampler_pb2.SampleResponse(**{names[type(part).__name__]: part})) for part in parts]
    return [batch for batch in made if batch is not None]


def test_good_messages_make_batches() -> None:
    batches = feed(header(), chunk(0), chunk(2), sampler_pb2.SampleSummary(complete=True))
    assert [list(batch.index) for batch in batches] == [[0, 1], [2, 3]]
    # A resumption repeats the last state with the rest of its multiplicity.
    joined = haarflow.concatenate(feed(header(), chunk(0), header(), chunk(1)))
    assert list(joined.index) == [0, 1, 2] and list(joined.multiplicity) == [1, 2, 1]


def test_a_configuration_in_parts() -> None:
    whole = chunk(0, 1)
    first, second = chunk(0, 1), chunk(0, 1)
    first.payload, second.payload, second.payload_offset = whole.payload[:40], whole.payload[40:], 40
    for part in (first, second):
        part.crc32c = google_crc32c.value(part.payload)
    (batch,) = feed(header(), first, second)
    assert batch.fields is not None
    np.testing.assert_array_equal(batch.fields.ravel(), np.arange(8.0))
    # A cut in the middle of it: its bytes come again.
    (again,) = feed(header(), first, header(), first, second)
    np.testing.assert_array_equal(again.fields, batch.fields)
    with pytest.raises(haarflow.CorruptData, match="begins at byte 40, expected 0"):
        feed(header(), second)
    with pytest.raises(haarflow.CorruptData, match="ends inside a configuration"):
        feed(header(), first, sampler_pb2.SampleSummary())


def altered(change: Callable[[sampler_pb2.SampleChunk], object]) -> sampler_pb2.SampleChunk:
    made = chunk()
    change(made)
    return made


CHUNKS = {
    "CRC-32C": lambda c: setattr(c, "payload", b"\1" + c.payload[1:]),
    "claims": lambda c: setattr(c, "payload_total", 1 << 60),
    "columns of a chunk differ": lambda c: c.action.append(1.0),
    "has 2 observables": lambda c: c.observables.append(c.observables[0]),
    "indices do not ascend": lambda c: c.index.__setitem__(slice(None), [1, 1]),
    "or are out of range": lambda c: c.index.__setitem__(slice(None), [1, 1 << 60]),
    "multiplicity 0": lambda c: c.multiplicity.__setitem__(0, 0),
}


@pytest.mark.parametrize("words", CHUNKS)
def test_altered_chunks_are_found(words: str) -> None:
    with pytest.raises(haarflow.CorruptData, match=words):
        feed(header(), altered(CHUNKS[words]))


HEADERS = {
    "is not 32 bytes": lambda h: setattr(h, "model_digest", b"short"),
    "unknown mode": lambda h: setattr(h, "mode", 0),
    "shape is not that": lambda h: h.shape.append(2),
    "its shape needs 64": lambda h: setattr(h, "configuration_bytes", 1 << 50),
    "convention 2 is not that": lambda h: setattr(h, "convention", 2),
    "more than 16 GiB": lambda h: (h.target.lattice.shape.__setitem__(slice(None), [4096] * 4), h.shape.__setitem__(slice(None), [4, *[4096] * 4])),
}


@pytest.mark.parametrize("words", HEADERS)
def test_altered_headers_are_found(words: str) -> None:
    made = header()
    HEADERS[words](made)
    with pytest.raises(haarflow.CorruptData, match=words):
        feed(made)


def test_other_chains_and_other_orders_are_found() -> None:
    other = header()
    other.seed = 2
    for words, parts in {"another seed": (header(), other), "does not begin with a header": (chunk(),), "index 1 after 1": (header(), chunk(), chunk(1)),
                         "after its summary": (header(), sampler_pb2.SampleSummary(), chunk())}.items():
        with pytest.raises(haarflow.CorruptData, match=words):
            feed(*parts)
    later = header()
    later.convention = 9
    with pytest.raises(haarflow.RequestRefused, match="update it"):
        feed(later)
