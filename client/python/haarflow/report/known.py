"""What is known about a target independently of any run: values with their uncertainties, and distributions.

In closed form where there is one (`exact`: two-dimensional gauge theories, single matrices); by contraction of tensors for one-component
phi^4 in two dimensions (`scalar`); by the strong-coupling series for plaquette actions in three and four dimensions (`strong_coupling`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import exact
from .exact import Density, Distribution
from .scalar import ScalarTorus, torus
from .strong_coupling import strong_coupling
from ..v1 import model_pb2

__all__ = ["Known", "distribution", "expectation", "log_z"]

_SOURCES = {
    "phi4": "tensor renormalisation (arXiv:1201.1144) with two numbers of states, whose difference is the uncertainty",
    "series": "the strong-coupling series through two neighbouring cubes, whose size is the uncertainty",
}


@dataclass(frozen=True)
class Known:
    """A value that does not come from the run.

    Attributes
    ----------
    value : float
    uncertainty : float
        0 for closed forms.
    source : str
        Where it comes from, in words; "" for closed forms.
    """

    value: float
    uncertainty: float = 0.0
    source: str = ""


def log_z(target: model_pb2.Target) -> Known | None:
    """log Z of the target, or None."""
    closed = exact.log_z(target)
    if closed is not None:
        return Known(closed)
    scalar = torus(target)
    if scalar is not None:
        return Known(*scalar.known_log_z(), _SOURCES["phi4"])
    series = strong_coupling(target)
    return None if series is None else Known(*series.log_z(), _SOURCES["series"])


def expectation(target: model_pb2.Target, observable: str) -> Known | None:
    """The mean of an observable, or None."""
    closed = exact.expectation(target, observable)
    if closed is not None:
        return Known(closed)
    scalar = torus(target)
    if scalar is not None:
        mean = scalar.known_mean(observable)
        return None if mean is None else Known(*mean, _SOURCES["phi4"] if mean[1] > 0 else "")
    series = strong_coupling(target) if observable in ("plaquette", "action") else None
    if series is None:
        return None
    value, uncertainty = series.plaquette()
    scale = 1.0 if observable == "plaquette" else -series.beta * series.plaquettes
    return Known(scale * value, abs(scale) * uncertainty, _SOURCES["series"])


def distribution(target: model_pb2.Target, observable: str) -> Distribution | None:
    """The distribution of an observable of single configurations, or None."""
    scalar = torus(target)
    return exact.distribution(target, observable) if scalar is None else _scalar_density(scalar, observable)


def _scalar_density(scalar: ScalarTorus, observable: str) -> Density | None:
    powers = {"magnetisation_abs": (1, 1.0), "magnetisation_squared": (2, 1.0), "susceptibility": (2, float(scalar.volume))}
    power, scale = powers.get(observable, (0, 1.0))
    made = scalar.density("magnetisation" if power else observable)
    if made is None:
        return None
    x, y = made
    if not power:
        return Density.of_points(x, y)
    # Of |M| first, whose density is twice that of M; then of its powers, by the probabilities between points.
    edges = np.concatenate([[0.0], x[x > 0]])
    centre = (edges[1:] + edges[:-1]) / 2
    return Density.of_bins(scale * edges**power, np.interp(centre, x, y) * np.diff(edges))
