"""Reading what ``haarflow sample -o FILE`` wrote (layouts: client/README.md): HDF5 (needs h5py), npy, and of SU(3) in four dimensions
ILDG and NERSC."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from . import gauge_files, npy_files
from .errors import CorruptData, HaarflowError
from .records import Batch, Run, Statistics
from .v1 import sampler_pb2

__all__ = ["read"]

_MAX_MESSAGE_BYTES = 1 << 20


def _message(attributes: Any, name: str, kind: Any, path: str) -> Any:
    value = attributes.get(name)
    content = b"" if value is None else np.asarray(value).tobytes()
    if not content or len(content) > _MAX_MESSAGE_BYTES:
        raise CorruptData(f"{path}: the attribute {name} is missing or too large")
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise CorruptData(f"{path}: the attribute {name} is damaged") from error


def _column(file: Any, name: str, rows: int, dtype: type, path: str) -> Any:
    if name not in file or file[name].shape != (rows,):
        raise CorruptData(f"{path}: the column {name} is missing or has not {rows} rows")
    return file[name][:].astype(dtype)


def read(path: str | os.PathLike[str], fields: bool = True) -> Batch:
    """A file of configurations as one batch.

    Parameters
    ----------
    path : path
        A file that ``haarflow sample`` finished: .h5 or .hdf5, .npy (with FILE.table.npy and FILE.json beside it), .lime, .ildg or .nersc (a
        single configuration, or the name of a run of several).
    fields : bool, optional
        False: weights and observables alone, for files that do not fit into memory.

    Returns
    -------
    Batch
        `Batch.token` goes on after the file's last step.

    Raises
    ------
    HaarflowError
        There is no such file, it is none of these (CorruptData when it contradicts itself), or h5py is missing.
    """
    name = os.fspath(path)
    if name.endswith(".npy"):
        return npy_files.read(name, fields)
    if gauge_files.is_name(name):
        return gauge_files.read(name, fields)
    try:
        import h5py
    except ImportError as error:
        raise HaarflowError("reading HDF5 needs h5py: pip install h5py") from error
    try:
        file = h5py.File(name, "r")
    except OSError as error:
        missing = not os.path.exists(name)
        raise HaarflowError(f"{name} {'does not exist' if missing else 'is no HDF5 file that can be read'}", "NOT_FOUND") from error
    with file:
        if file.attrs.get("format") != "haarflow configurations":
            raise HaarflowError(f"{name} holds no haarflow configurations", "INVALID_ARGUMENT")
        if file.attrs.get("format_version") != 1:
            raise HaarflowError(f"{name} has format version {file.attrs.get('format_version')}; this package knows 1: update it",
                                "FAILED_PRECONDITION")
        try:
            return _read(file, name, fields)
        except OSError as error:
            raise CorruptData(f"{name}: {error}") from error


def _read(file: Any, name: str, fields: bool) -> Batch:
    run = Run.of(_message(file.attrs, "header_message", sampler_pb2.SampleHeader, name))
    statistics = Statistics.of(_message(file.attrs, "statistics_message", sampler_pb2.ChainStatistics, name))
    rows = file["index"].shape[0] if "index" in file else 0
    index = _column(file, "index", rows, np.uint64, name)
    if np.any(index[1:] <= index[:-1]):
        raise CorruptData(f"{name}: indices do not ascend")
    metropolis = run.mode == "metropolis"
    multiplicity = _column(file, "multiplicity", rows, np.uint64, name) if metropolis else np.ones(rows, np.uint64)
    observables = {key: _column(file, f"observables/{key}", rows, np.float64, name) for key in run.observables}
    data = None
    if fields and run.dtype:
        dataset = file["links" if "links" in file else "field"]
        if dataset.shape != (rows, *run.shape):
            raise CorruptData(f"{name}: fields have the shape {dataset.shape}, {rows} rows of {run.shape} were expected")
        data = dataset[:].astype(run.dtype)
    token = file.attrs.get("resume_token")
    log_weight, log_q, action = (_column(file, key, rows, np.float64, name) for key in ("log_weight", "log_q", "action"))
    return Batch(run, data, index, multiplicity, log_weight, log_q, action, observables, b"" if token is None else np.asarray(token).tobytes(), statistics)


def attribute(path: str | os.PathLike[str], name: str) -> str:
    """An attribute of the file as text; "" where it has none."""
    name_of_file = os.fspath(path)
    if name_of_file.endswith(".npy") or gauge_files.is_name(name_of_file):
        described = (npy_files if name_of_file.endswith(".npy") else gauge_files).attributes(name_of_file)
        return str(described.get(name, ""))
    import h5py

    with h5py.File(os.fspath(path), "r") as file:
        return str(file.attrs.get(name, ""))
