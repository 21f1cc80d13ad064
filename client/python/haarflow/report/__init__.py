"""``haarflow report FILE|MODEL``: one page that says what a run is worth, and why. Needs matplotlib, and h5py for files.

>>> report = haarflow.report.of_file("out.h5")
>>> print(report.verdict.headline)
>>> report.write("out.html", png_directory="figures")
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import theory
from ..errors import HaarflowError
from ..records import Batch
from .analysis import ObservableReport, Source, WeightReport, analyse, analyse_weights
from .verdict import Finding, Level, Verdict, judge

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["Finding", "Level", "ObservableReport", "Report", "Verdict", "WeightReport", "of_batch", "of_file", "of_model"]

_LEAST_STEPS = 100


@dataclass(frozen=True)
class Report:
    """What is known about a run.

    Attributes
    ----------
    title : str
    batch : Batch
        Without fields.
    observables : list of ObservableReport
    weights : WeightReport
    verdict : Verdict
    created : str
    """

    title: str
    batch: Batch
    observables: list[ObservableReport]
    weights: WeightReport
    verdict: Verdict
    created: str = ""

    def write(self, path: str | os.PathLike[str], png_directory: str | os.PathLike[str] | None = None) -> list[str]:
        """Writes the page, whole or not at all, and the figures as PNG where a directory is given.

        Parameters
        ----------
        path : path
            Of the HTML file. One that is no report is never replaced.
        png_directory : path, optional
            Made if it is not there; gets ``OBSERVABLE.png`` and ``weights.png``.

        Returns
        -------
        list of str
            The files that were written.
        """
        try:
            from .figures import observable_picture, weight_picture
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise HaarflowError("figures need matplotlib: pip install matplotlib") from error
        from .. import __version__
        from . import page

        target = Path(path)
        if target.exists() and page.MARK not in target.read_bytes()[:200].decode("utf-8", "replace"):
            raise HaarflowError(f"{target} exists and is no report: give another name with -o", "ALREADY_EXISTS")
        metropolis = self.batch.run.mode == "metropolis"
        png = png_directory is not None
        pictures = [observable_picture(o, metropolis, png) for o in self.observables] + [weight_picture(self.weights, png)]
        text = page.render(self.title, self.batch, self.created, self.observables, self.weights, self.verdict, pictures, __version__)
        written = [_write(target, text.encode("utf-8"))]
        if png_directory is not None:
            Path(png_directory).mkdir(parents=True, exist_ok=True)
            written += [_write(Path(png_directory) / f"{picture.name}.png", picture.png) for picture in pictures]
        return written

    def summary(self) -> dict[str, Any]:
        """The same for programs: plain numbers and strings."""
        return {
            "title": self.title,
            "verdict": self.verdict.level,
            "headline": self.verdict.headline,
            "findings": [{"level": finding.level, "text": finding.text} for finding in self.verdict.findings],
            "independent": self.verdict.independent,
            "observables": [{"observable": o.name, "value": o.estimate.value, "error": o.estimate.error, "exact": o.estimate.exact,
                             "exact_uncertainty": o.estimate.exact_uncertainty,
                             "pull": o.estimate.pull, "tau_int": o.estimate.tau_int, "tau_int_error": o.estimate.tau_int_error,
                             "chi_squared": o.histogram.chi_squared, "degrees": o.histogram.degrees, "p_value": o.histogram.p_value}
                            for o in self.observables],
            "log_z": {"value": self.weights.log_z.value, "error": self.weights.log_z.error, "exact": self.weights.log_z.exact,
                      "exact_uncertainty": self.weights.log_z.exact_uncertainty,
                      "pull": self.weights.log_z.pull},
        }


def _write(path: Path, content: bytes) -> str:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return str(path)


def of_batch(batch: Batch, title: str, exact: Mapping[str, float] | None = None, created: str = "") -> Report:
    """A report of configurations in memory.

    Parameters
    ----------
    batch : Batch
        At least 100 steps; joined with `haarflow.concatenate`.
    title : str
    exact : mapping of str to float, optional
        Exact means, where the caller knows some; "log_z" is log Z.
    created : str, optional
        When the data were made.
    """
    if batch.steps < _LEAST_STEPS:
        raise HaarflowError(f"{title}: {batch.steps} steps say nothing; at least {_LEAST_STEPS} are needed", "INVALID_ARGUMENT")
    source = Source(batch, title, exact or {}, created)
    observables, weights = analyse(source), analyse_weights(source)
    return Report(title, batch, observables, weights, judge(batch, observables, weights), created)


def of_file(path: str | os.PathLike[str]) -> Report:
    """A report of a file that ``haarflow sample`` wrote: whatever `files.read` reads. No server is asked."""
    from .. import files

    batch = files.read(path, fields=False)
    return of_batch(batch, Path(path).name, created=files.attribute(path, "created"))


def of_model(client: Client, model: str, count: int = 10_000, *, parameters: Mapping[str, float] | None = None,
             observables: Iterable[str] | None = None, seed: int | None = None, mode: Any = "metropolis") -> Report:
    """Draws from a model, without its fields, and reports.

    Parameters
    ----------
    client : Client
    model : str
    count : int, optional
        Chain steps or proposals.
    parameters : mapping of str to float, optional
        In which the target differs from the model's own.
    observables : iterable of str, optional
        Absent: the usual ones, and the order parameter where its distribution is telling.
    seed, mode
        As of `Client.sample`.
    """
    target = client.target(model, parameters)
    names = list(observables) if observables is not None else _telling(target)
    batch = client.sample(model, count, target=target if parameters else None, observables=names, seed=seed, mode=mode, fields=False).collect()
    # The server's closed forms go with any measurement, however short.
    known = client.measure(model, names, 16, target=target if parameters else None, seed=batch.run.seed)
    exact = {name: estimate.exact for name, estimate in known.items() if estimate.exact is not None}
    log_z = client.log_z(model, 256, target=target if parameters else None, seed=batch.run.seed).exact
    if log_z is not None:
        exact["log_z"] = log_z
    return of_batch(batch, model, exact, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _telling(target: Any) -> list[str]:
    names = theory.default_columns(target)
    which = target.WhichOneof("theory")
    if which == "phi4" and target.phi4.components != 2:
        return ["magnetisation", *names]
    if which == "u1_wilson" and "charge_squared" in names:
        return [*names, "charge"]
    return names
