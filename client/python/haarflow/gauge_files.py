"""Runs of SU(3) gauge fields in four dimensions as ILDG (LIME) and NERSC files, with haarflow's own record inside or beside each.

One configuration is FILE itself; more are FILE with the index before its extension (conf.00000017.lime), and FILE.json says which.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from . import json_files
from .errors import CorruptData, HaarflowError
from .records import Batch, Run

__all__ = ["attributes", "is_name", "read"]

_LIME = (".lime", ".ildg")
_RECORD = b"haarflow-configuration"
_MAX_RECORDS = 4096
_MAX_RECORD_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20


def is_name(path: str) -> bool:
    """Files of these formats are known by their extension."""
    return path.endswith((*_LIME, ".nersc"))


def _file_of(path: str, index: int) -> str:
    stem, extension = os.path.splitext(path)
    return f"{stem}.{index:08d}{extension}"


def _lime(file: BinaryIO, path: str) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, bytes) of each record's payload; every length is bounded by the file's."""
    size = os.fstat(file.fileno()).st_size
    at = 0
    for _ in range(_MAX_RECORDS):
        if at + 144 > size:
            return
        file.seek(at)
        header = file.read(144)
        magic, _, _, length = struct.unpack(">IHHQ", header[:16])
        if magic != 0x456789AB or length > size - at - 144:
            raise CorruptData(f"{path}: the LIME record at byte {at} is damaged or cut")
        yield header[16:].split(b"\0", 1)[0], at + 144, length
        at += 144 + length + -length % 8
    raise CorruptData(f"{path} has more than {_MAX_RECORDS} LIME records")


def _record(path: str) -> dict[str, Any]:
    """Of one configuration."""
    json_files.size_of(path)
    if not path.endswith(_LIME):
        if not os.path.exists(path + ".json"):
            raise HaarflowError(f"{path} holds a field of another program: there are no weights to report on", "INVALID_ARGUMENT")
        return json_files.read_object(path + ".json")
    with open(path, "rb") as file:
        for kind, offset, length in _lime(file, path):
            if kind == _RECORD and length <= _MAX_RECORD_BYTES:
                file.seek(offset)
                return json_files.parse(file.read(length), path)
    raise HaarflowError(f"{path} holds a field of another program: there are no weights to report on", "INVALID_ARGUMENT")


def _place(path: str) -> tuple[int, int, int | None]:
    """Offset of the field, how many rows of each link are there, and NERSC's sum of its words."""
    if path.endswith(_LIME):
        with open(path, "rb") as file:
            for kind, offset, _ in _lime(file, path):
                if kind == b"ildg-binary-data":
                    return offset, 3, None
        raise CorruptData(f"{path} has no ildg-binary-data")
    with open(path, "rb") as file:
        text = file.read(_MAX_HEADER_BYTES)
    end = text.find(b"END_HEADER\n")
    if end < 0:
        raise CorruptData(f"{path} has no END_HEADER")
    checksum = re.search(rb"^CHECKSUM = ([0-9a-fA-F]{1,8})\s*$", text[:end], re.MULTILINE)
    if checksum is None:
        raise CorruptData(f"{path} has no CHECKSUM in its header")
    return end + len(b"END_HEADER\n"), 3 if b"4D_SU3_GAUGE_3x3" in text[:end] else 2, int(checksum[1], 16)


def _links(path: str, run: Run, sha256: str) -> npt.NDArray[Any]:
    """[mu, t, z, y, x, row, column]; the files have [t, z, y, x, mu, row, column], big-endian."""
    lattice = run.shape[1:5]
    offset, rows, checksum = _place(path)
    count = int(np.prod(lattice)) * 4 * rows * 3
    if os.stat(path).st_size < offset + 16 * count:
        raise CorruptData(f"{path} is too short for {lattice} links")
    raw = np.fromfile(path, ">c16", count, offset=offset)
    if checksum is not None and int(raw.view(">u4").sum(dtype=np.uint64)) & 0xFFFFFFFF != checksum:
        raise CorruptData(f"{path}: the field does not have the CHECKSUM of its header: one of them was altered")
    stored = raw.reshape(*lattice, 4, rows, 3).astype(np.complex128)
    if rows == 2:
        stored = np.concatenate([stored, np.cross(stored[..., 0, :], stored[..., 1, :]).conj()[..., None, :]], axis=-2)
    links = np.ascontiguousarray(np.moveaxis(stored, 4, 0)).astype(run.dtype)
    # A third row that is made here has the last bits of this machine's arithmetic: the sum of words was all there is to check.
    if rows == 3 and hashlib.sha256(links.tobytes()).hexdigest() != sha256:
        raise CorruptData(f"{path}: the field does not have the SHA-256 that haarflow's record says: one of them was altered")
    return links


def attributes(path: str) -> dict[str, Any]:
    """What a run, or the only configuration of one, says of itself."""
    return _record(path) if os.path.exists(path) else json_files.read_object(path + ".json")


def read(path: str, fields: bool) -> Batch:
    """See `files.read`; each field's SHA-256, and of NERSC files the checksum, is checked where fields are read."""
    if not os.path.exists(path) and not os.path.exists(path + ".json"):
        raise HaarflowError(f"{path} does not exist", "NOT_FOUND")
    described = attributes(path)
    run = json_files.run_of(described, path)
    if os.path.exists(path):
        files = [(path, described)]
        if json_files.unsigned(described, "configurations", path) > 1:
            raise HaarflowError(f"{path} is one configuration of a run: give the run's name, without the index", "INVALID_ARGUMENT")
    else:
        index_list = described.get("index")
        if not isinstance(index_list, list) or not all(isinstance(i, int) and 0 <= i < 1 << 40 for i in index_list):
            raise CorruptData(f"{path}.json has no list index")
        files = [(name, _record(name)) for name in (_file_of(path, i) for i in index_list)]
    index = np.array([json_files.unsigned(record, "index", name) for name, record in files], np.uint64)
    if np.any(index[1:] <= index[:-1]):
        raise CorruptData(f"{path}: indices do not ascend")
    for name, record in files:
        if record.get("header_message") != described["header_message"]:
            raise CorruptData(f"{name} belongs to another run")
    if run.mode == "metropolis":
        multiplicity = np.array([json_files.unsigned(record, "multiplicity", name) for name, record in files], np.uint64)
    else:
        multiplicity = np.ones(index.size, np.uint64)

    def column(key: str) -> npt.NDArray[np.float64]:
        return np.array([json_files.number(record, key, name) for name, record in files])

    observables = {o: np.array([json_files.number(dict(record.get("values") or {}), o, name) for name, record in files]) for o in run.observables}
    data = _fields(files, run) if fields and run.dtype else None
    return Batch(run, data, index, multiplicity, column("log_weight"), column("log_q"),
                 column("action"), observables, json_files.token_of(described, path), json_files.statistics_of(described, path))


def _fields(files: list[tuple[str, dict[str, Any]]], run: Run) -> npt.NDArray[Any]:
    return np.array([_links(name, run, json_files.sha256_of(record, name)) for name, record in files])
