"""The commands that are written in Python: ``haarflow report`` is this one. Also ``haarflow-py`` and ``python -m haarflow``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__, report
from .client import connect
from .errors import CorruptData, HaarflowError, RequestRefused, ServerUnavailable

# Exit codes of the command line (client/README.md).
USAGE, UNREACHABLE, REFUSED, CORRUPT, LOCAL_FILE, INTERRUPTED = 2, 3, 4, 5, 6, 130


class UsageError(Exception):
    """What the command line got wrong."""


def _setting(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (name and equals and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text}: give NAME=NUMBER, for example lambda=6")
    return name, number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="haarflow", description="The commands of haarflow that are written in Python.")
    parser.add_argument("--version", action="version", version=f"haarflow {__version__}")
    command = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "report", help="a page about a file or a model: histories, distributions, autocorrelation, weights, a verdict",
        description="Makes one self-contained HTML page: histories, histograms against exact curves, autocorrelation, weights, and a verdict "
                    "in words.")
    command.add_argument("subject", metavar="FILE|MODEL", help="a file of `haarflow sample` (HDF5, npy, ILDG, NERSC), or the name of a model to draw from")
    command.add_argument("-o", "--output", metavar="HTML", help="the page; default: the subject's name with .html, in this directory")
    command.add_argument("--png", metavar="DIRECTORY", help="write the figures as PNG files too")
    drawing = command.add_argument_group("models")
    drawing.add_argument("-n", "--count", type=int, default=10_000, help="chain steps or proposals to draw (10000)")
    drawing.add_argument("--seed", type=int, help="64 bits; the server's choice when not given")
    drawing.add_argument("--set", dest="settings", action="append", type=_setting, default=[], metavar="NAME=VALUE",
                         help="another parameter of the theory; may be repeated")
    drawing.add_argument("--mode", choices=["metropolis", "reweighted"], default="metropolis")
    drawing.add_argument("--observables", type=lambda text: text.split(","), metavar="a,b,...", help="default: the usual ones of the theory")
    server = command.add_argument_group("the server")
    server.add_argument("--server", help="host:port or unix:/path; else $HAARFLOW_SERVER")
    server.add_argument("--token-file", help="file with a token; else $HAARFLOW_TOKEN_FILE, or what `haarflow login` keeps")
    server.add_argument("--tls", action="store_true", help="TLS with the system's authorities")
    server.add_argument("--tls-ca", help="TLS with the authorities of this PEM file")
    server.add_argument("--tls-cert", help="PEM certificate to show")
    server.add_argument("--tls-key", help="PEM key of that certificate")
    command.add_argument("--json", action="store_true", help="one JSON document on stdout, errors too")
    return parser


def _is_file(subject: str) -> bool:
    return subject.endswith((".h5", ".hdf5", ".npy", ".lime", ".ildg", ".nersc")) or "/" in subject or Path(subject).is_file()


def _default_output(subject: str) -> str:
    return (Path(subject).stem if _is_file(subject) else subject) + ".html"


def _make(options: argparse.Namespace) -> report.Report:
    if _is_file(options.subject):
        return report.of_file(options.subject)
    with connect(options.server, token_file=options.token_file, tls=options.tls, ca_file=options.tls_ca, certificate_file=options.tls_cert,
                 key_file=options.tls_key) as client:
        return report.of_model(client, options.subject, options.count, parameters=dict(options.settings), observables=options.observables,
                               seed=options.seed, mode=options.mode)


def _text(made: report.Report, files: Sequence[str]) -> str:
    marks = {"good": "  ", "note": "  ", "warning": "! ", "failure": "!!"}
    lines = [made.verdict.headline, ""]
    lines += [f"{marks[finding.level]} {finding.text}" for finding in made.verdict.findings]
    return "\n".join([*lines, "", f"written     {', '.join(files)}"])


def _without_nan(value: Any) -> Any:
    """JSON has no numbers that are not finite: null, as of the command line."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


def _exit_code(error: Exception) -> int:
    if isinstance(error, UsageError) or (isinstance(error, RequestRefused) and error.code == "INVALID_ARGUMENT"):
        return USAGE
    kinds = ((ServerUnavailable, UNREACHABLE), (RequestRefused, REFUSED), (CorruptData, CORRUPT))
    return next((code for kind, code in kinds if isinstance(error, kind)), LOCAL_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        made = _make(options)
        files = made.write(options.output or _default_output(options.subject), options.png)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (HaarflowError, UsageError, OSError) as error:
        code = getattr(error, "code", "INVALID_ARGUMENT")
        if options.json:
            print(json.dumps({"error": {"code": code, "message": str(error)}}))
        else:
            print(f"haarflow: {error}", file=sys.stderr)
        return _exit_code(error)
    if options.json:
        print(json.dumps({**_without_nan(made.summary()), "files": files}, indent=2))
    else:
        print(_text(made, files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
