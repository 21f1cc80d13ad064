"""What runs say of themselves in JSON, beside npy and NERSC files and inside ILDG files (core/io/attribute_json.h is the same in C++)."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from google.protobuf.message import DecodeError

from .errors import CorruptData, HaarflowError
from .records import Run, Statistics
from .v1 import sampler_pb2

__all__ = ["number", "parse", "read_object", "run_of", "sha256_of", "statistics_of", "token_of", "unsigned"]

MAX_JSON_BYTES = 64 << 20


def read_object(path: str) -> dict[str, Any]:
    """The JSON object in a file; HaarflowError (NOT_FOUND) where there is no such file."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise HaarflowError(f"{path} {'does not exist' if isinstance(error, FileNotFoundError) else 'cannot be read: ' + str(error.strerror)}",
                            "NOT_FOUND") from error
    return parse(text, path)


def parse(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object of at most 64 MiB."""
    try:
        made = json.loads(text) if len(text) <= MAX_JSON_BYTES else None
    except (ValueError, RecursionError) as error:
        raise CorruptData(f"{what} is no JSON: {error}") from error
    if not isinstance(made, dict):
        raise CorruptData(f"{what} holds no JSON object of at most {MAX_JSON_BYTES} bytes")
    return made


def _bytes(described: dict[str, Any], name: str, what: str) -> bytes:
    try:
        return bytes.fromhex(described[name])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptData(f"{what}: the member {name} is missing, or not what it should be") from error


def _message(described: dict[str, Any], name: str, kind: Any, what: str) -> Any:
    try:
        return kind.FromString(_bytes(described, name, what))
    except DecodeError as error:
        raise CorruptData(f"{what}: the member {name} is damaged") from error


def run_of(described: dict[str, Any], what: str) -> Run:
    """What names the run; refused where the readable members contradict the message that it is made of."""
    if described.get("foreign") or "header_message" not in described:
        raise HaarflowError(f"{what} holds fields of another program: there are no weights to report on", "INVALID_ARGUMENT")
    run = Run.of(_message(described, "header_message", sampler_pb2.SampleHeader, what))
    says = {"seed": run.seed, "model": run.model, "model_digest": run.model_digest, "target_digest": run.target_digest}
    for name, value in says.items():
        if name in described and described[name] != value:
            raise CorruptData(f"{what}: says {name} {described[name]!r}, but was written with {value!r}: one of them was altered")
    return run


def statistics_of(described: dict[str, Any], what: str) -> Statistics:
    """Of the run's chain."""
    return Statistics.of(_message(described, "statistics_message", sampler_pb2.ChainStatistics, what))


def token_of(described: dict[str, Any], what: str) -> bytes:
    """Goes on after the run; empty where there is none."""
    return _bytes(described, "resume_token", what) if "resume_token" in described else b""


def sha256_of(described: dict[str, Any], what: str) -> str:
    """Of the fields' bytes, in hexadecimal."""
    return _bytes(described, "sha256", what).hex()


def unsigned(described: dict[str, Any], name: str, what: str) -> int:
    """A member that is a whole number of 64 bits."""
    value = described.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise CorruptData(f"{what}: the member {name} is missing, or no whole number")
    return value


def number(described: dict[str, Any], name: str, what: str) -> float:
    """A member that is a number; "nan", "inf" and "-inf" are those that JSON has not."""
    value = described.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if value in ("nan", "inf", "-inf"):
        return math.nan if value == "nan" else math.inf * (1 if value == "inf" else -1)
    raise CorruptData(f"{what}: the member {name} is missing, or no number")


def size_of(path: str) -> int:
    """Of a file; HaarflowError (NOT_FOUND) where it is not there."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise HaarflowError(f"{path} does not exist", "NOT_FOUND") from error
