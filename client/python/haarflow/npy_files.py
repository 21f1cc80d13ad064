"""Runs as npy files: FILE.npy the fields, FILE.table.npy a row for each configuration, FILE.json the attributes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from . import json_files
from .errors import CorruptData, HaarflowError
from .records import Batch, Run

__all__ = ["attributes", "read"]


def attributes(path: str) -> dict[str, Any]:
    """What the run says of itself."""
    return json_files.read_object(path.removesuffix(".npy") + ".json")


def _mapped(path: str) -> Any:
    """An array without a copy, its length checked against the file's; never an object that would have to be unpickled."""
    json_files.size_of(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise CorruptData(f"{path} is no npy file that can be read: {error}") from error


def read(path: str, fields: bool) -> Batch:
    """See `files.read`; the fields' SHA-256 is checked where they are read."""
    json_files.size_of(path)
    described = attributes(path)
    if described.get("format") != "haarflow configurations":
        raise HaarflowError(f"{path} holds no haarflow configurations", "INVALID_ARGUMENT")
    run = json_files.run_of(described, path)
    name = path.removesuffix(".npy") + ".table.npy"
    table = _mapped(name)
    wanted = ["index", "multiplicity", "log_weight", "log_q", "action", *(o for o in run.observables if o != "action")]
    if table.ndim != 1 or table.dtype.names is None or any(column not in table.dtype.names for column in wanted):
        raise CorruptData(f"{name} has not the columns {', '.join(wanted)}")
    columns: dict[str, Any] = {column: np.array(table[column]) for column in wanted}
    index = columns["index"].astype(np.uint64)
    if np.any(index[1:] <= index[:-1]):
        raise CorruptData(f"{name}: indices do not ascend")
    multiplicity = columns["multiplicity"].astype(np.uint64) if run.mode == "metropolis" else np.ones(index.size, np.uint64)
    data = _fields(path, run, index.size, json_files.sha256_of(described, path)) if fields and run.dtype else None
    return Batch(run, data, index, multiplicity, columns["log_weight"], columns["log_q"], columns["action"],
                 {o: columns[o].astype(np.float64) for o in run.observables}, json_files.token_of(described, path),
                 json_files.statistics_of(described, path))


def _fields(path: str, run: Run, rows: int, sha256: str) -> Any:
    data = _mapped(path)
    if data.shape != (rows, *run.shape) or data.dtype != np.dtype(run.dtype).newbyteorder("<"):
        raise CorruptData(f"{path}: fields have the shape {data.shape} and type {data.dtype}, {rows} rows of {run.shape} {run.dtype} were expected")
    made = np.array(data)
    if hashlib.sha256(made.tobytes()).hexdigest() != sha256:
        raise CorruptData(f"{path}: the fields do not have the SHA-256 that its attributes say: one of them was altered")
    return made.astype(run.dtype)
