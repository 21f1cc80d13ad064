"""What a report says in numbers: each observable's mean, error, autocorrelation, distribution and stability; the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .. import theory
from ..records import Batch
from ..statistics import Autocorrelation, Estimate, gamma_method, weighted_mean
from . import known
from .exact import Distribution, Probabilities
from .known import Known

__all__ = ["Histogram", "ObservableReport", "Source", "WeightReport", "analyse", "analyse_weights"]

Array = npt.NDArray[np.float64]

_MAX_BINS = 40
_LEAST_IN_BIN = 10.0  # independent configurations that chi^2 wants in a bin
_BLOCKS = 50


@dataclass(frozen=True)
class Source:
    """What a report is about.

    Attributes
    ----------
    batch : Batch
        The configurations, without fields.
    title : str
        A file's or a model's name.
    exact : dict of str to float
        Exact means by observable, as the server knows them; others come from `known`.
    created : str
        When the data were made; "" where it is not known.
    """

    batch: Batch
    title: str
    exact: Mapping[str, float]
    created: str = ""


@dataclass(frozen=True)
class Histogram:
    """Probabilities of bins with errors that know the autocorrelation, and their comparison with an exact distribution.

    Attributes
    ----------
    edges : ndarray, shape (bins + 1,)
    probability, error : ndarray, shape (bins,)
    distribution : Density or Probabilities or None
        The exact one, where it is known.
    expected : ndarray, shape (bins,), or None
        Its integral over each bin.
    chi_squared, degrees, p_value : float, int, float
        Over bins with enough entries; NaN where nothing is known.
    """

    edges: Array
    probability: Array
    error: Array
    distribution: Distribution | None
    expected: Array | None
    chi_squared: float = float("nan")
    degrees: int = 0
    p_value: float = float("nan")


@dataclass(frozen=True)
class ObservableReport:
    """One observable of a run.

    Attributes
    ----------
    name : str
    series : ndarray
        The chain step by step; REWEIGHTED: the proposals' values.
    weights : ndarray
        Of the entries of `series`, sum 1.
    estimate : Estimate
    correlation : Autocorrelation
        Of the chain; REWEIGHTED: of ``w (O - mean)``, which independent proposals do not have.
    histogram : Histogram
    source : str
        Where an exact value with an uncertainty comes from.
    block_centre, block_mean, block_error : ndarray
        Means of successive parts.
    running_at, running_mean, running_error : ndarray
        Means of the first n entries; their errors are the last one's, scaled.
    drift : float
        Difference of the two halves' means in units of its error.
    """

    name: str
    series: Array
    weights: Array
    estimate: Estimate
    correlation: Autocorrelation
    histogram: Histogram
    source: str
    block_centre: Array
    block_mean: Array
    block_error: Array
    running_at: Array
    running_mean: Array
    running_error: Array
    drift: float


@dataclass(frozen=True)
class WeightReport:
    """The weights ``log w - log Z`` of a run, as proposals (density q) and as the target (density p = w q / Z) have them.

    Attributes
    ----------
    log_z : Estimate
    edges : ndarray, shape (bins + 1,), or empty
        Empty where all weights are equal to rounding.
    proposals, target : ndarray, shape (bins,)
        Densities of log w - log Z. METROPOLIS files hold the target's; the proposals' follow with 1 / w.
    variance : float
        Of a Gaussian of the same ESS, -log ESS: q would be N(-v/2, v), p N(+v/2, v).
    multiplicity : ndarray of int or None
        METROPOLIS: the multiplicities of the states.
    running_at, running_ess : ndarray
        REWEIGHTED: ESS of the first n proposals.
    """

    log_z: Estimate
    edges: Array
    proposals: Array
    target: Array
    variance: float
    multiplicity: npt.NDArray[np.int64] | None
    running_at: Array
    running_ess: Array


def chi_squared_probability(chi_squared: float, degrees: int) -> float:
    """The probability of a larger value: Wilson and Hilferty's cube root, good to a few thousandths."""
    if degrees < 1:
        return float("nan")
    z = ((chi_squared / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return 0.5 * math.erfc(z / math.sqrt(2))


def analyse(source: Source) -> list[ObservableReport]:
    """Every observable column, and the action where there is none."""
    batch = source.batch
    names = list(batch.observables) or ["action"]
    return [_analyse(source, name) for name in names]


def _analyse(source: Source, name: str) -> ObservableReport:
    batch, target = source.batch, source.batch.run.target
    metropolis = batch.run.mode == "metropolis"
    if metropolis:
        series = batch.chain(name)
        weights = np.full(series.size, 1 / series.size)
        correlation = gamma_method(series)
        estimate = correlation.estimate
    else:
        series, weights = batch.values(name), batch.weights
        estimate = weighted_mean(series, batch.log_weight)
        correlation = gamma_method(weights * (series - estimate.value))
    mean = Known(source.exact[name]) if name in source.exact else known.expectation(target, name)
    estimate = _compared(estimate, mean)
    blocks = _blocks(series, weights, estimate)
    return ObservableReport(name, series, weights, estimate, correlation, _histogram(source, name, series, weights),
                            mean.source if mean is not None and estimate.exact is not None else "", *blocks,
                            *_running(series, weights, estimate), _drift(series, weights, estimate))


def _compared(estimate: Estimate, with_what: Known | None) -> Estimate:
    """A value that is known less well than it was measured says nothing about the run."""
    if with_what is None or with_what.uncertainty > max(estimate.error, 1e-12 * abs(estimate.value)):
        return estimate
    return replace(estimate, exact=with_what.value, exact_uncertainty=with_what.uncertainty)


def _blocks(series: Array, weights: Array, estimate: Estimate) -> tuple[Array, Array, Array]:
    """Errors are the whole run's, scaled to a block's share of the statistics."""
    count = min(_BLOCKS, max(1, series.size // 20))
    edges = np.linspace(0, series.size, count + 1).astype(np.int64)
    sums = np.add.reduceat(weights * series, edges[:-1]) / np.add.reduceat(weights, edges[:-1])
    return (edges[1:] + edges[:-1]) / 2, sums, np.full(count, estimate.error * math.sqrt(count))


def _running(series: Array, weights: Array, estimate: Estimate) -> tuple[Array, Array, Array]:
    at = np.unique(np.geomspace(min(20, series.size), series.size, 300).astype(np.int64))
    mean = np.cumsum(weights * series)[at - 1] / np.cumsum(weights)[at - 1]
    return at.astype(float), mean, estimate.error * np.sqrt(series.size / at)


def _drift(series: Array, weights: Array, estimate: Estimate) -> float:
    half = series.size // 2
    if half < 8 or not estimate.error > 1e-12 * abs(estimate.value):
        return 0.0
    means = [np.average(part, weights=weight) for part, weight in
             ((series[:half], weights[:half]), (series[half:], weights[half:]))]
    # Both halves have sqrt(2) the error of the whole.
    return float((means[1] - means[0]) / (2 * estimate.error))


def _edges(series: Array, distribution: Distribution | None) -> Array:
    values = np.unique(series[: 100_000])
    integers = isinstance(distribution, Probabilities) or (values.size <= 60 and np.allclose(values, np.round(values), atol=1e-9))
    if integers:
        values = np.unique(np.round(series))
        middles = (values[1:] + values[:-1]) / 2
        first = values[0] - (middles[0] - values[0] if middles.size else 0.5)
        last = values[-1] + (values[-1] - middles[-1] if middles.size else 0.5)
        return np.concatenate([[first], middles, [last]])
    low, high = float(series.min()), float(series.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        pad = max(abs(low), 1.0) * 1e-6
        return np.array([low - pad, high + pad])
    bins = int(np.clip(2 * series.size ** (1 / 3), 8, _MAX_BINS))
    return np.linspace(low, high, bins + 1)


def _histogram(source: Source, name: str, series: Array, weights: Array) -> Histogram:
    distribution = known.distribution(source.batch.run.target, name)
    edges = _edges(series, distribution)
    bins = edges.size - 1
    bin_of = np.clip(np.searchsorted(edges, series, side="right") - 1, 0, bins - 1)
    probability = np.bincount(bin_of, weights, bins).astype(np.float64)
    error = np.zeros(bins)
    for k in range(bins):
        inside = (bin_of == k).astype(float)
        if source.batch.run.mode == "metropolis":
            error[k] = gamma_method(inside).estimate.error
        else:
            error[k] = weighted_mean(inside, source.batch.log_weight).error
    made = Histogram(edges, probability, error, distribution, None)
    if distribution is None:
        return made
    return _compare(made, distribution.probability(edges), series.size)


def _compare(made: Histogram, expected: Array, entries: int) -> Histogram:
    """Pearson's chi^2 for entries that are correlated or weighted.

    Their number in a bin has the variance of as many independent ones times an inflation, which the measured errors tell. A bin with few
    entries knows its own badly, hence at least that of all bins together, and the expected probability rather than the one that was met.
    """
    independent = made.probability * (1 - made.probability) / entries
    pooled = float(np.sum(made.error**2) / np.sum(independent)) if np.any(independent > 0) else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        inflation = np.fmax(made.error**2 / independent, pooled)
    use = np.isfinite(inflation) & (expected * entries / inflation >= _LEAST_IN_BIN)
    # With p in place of the p (1 - p) of one bin: the bins' probabilities add up to 1.
    chi_squared = float(np.sum(((made.probability - expected)[use]) ** 2 * entries / (expected * inflation)[use]))
    degrees = max(int(use.sum()) - 1, 0)
    return replace(made, expected=expected, chi_squared=chi_squared, degrees=degrees, p_value=chi_squared_probability(chi_squared, degrees))


def analyse_weights(source: Source) -> WeightReport:
    """Of METROPOLIS states or of REWEIGHTED proposals."""
    batch, statistics = source.batch, source.batch.statistics
    exact_log_z = Known(source.exact["log_z"]) if "log_z" in source.exact else known.log_z(batch.run.target)
    log_z = _compared(Estimate(statistics.log_z, statistics.log_z_error), exact_log_z)
    x = batch.log_weight - statistics.log_z
    finite = np.isfinite(x)
    x, multiplicity = x[finite], batch.multiplicity[finite].astype(float)
    metropolis = batch.run.mode == "metropolis"
    variance = -math.log(statistics.ess) if 0 < statistics.ess <= 1 else float("nan")
    edges = proposals = target = np.empty(0)
    if x.size and np.ptp(x) > 1e-9:
        low, high = np.quantile(x, [2 / x.size, 1 - 2 / x.size])
        pad = 0.1 * (high - low) + 1e-12
        edges = np.linspace(low - pad, high + pad, int(np.clip(2 * x.size ** (1 / 3), 10, 60)) + 1)
        as_target = multiplicity if metropolis else np.exp(x - x.max())
        as_proposals = multiplicity * np.exp(x.min() - x) if metropolis else np.ones(x.size)
        target, proposals = (np.histogram(x, edges, weights=w)[0] / w.sum() / np.diff(edges) for w in (as_target, as_proposals))
    running_at = running_ess = np.empty(0)
    if not metropolis and batch.index.size >= 2:
        w = np.exp(batch.log_weight - batch.log_weight.max())
        running_at = np.unique(np.geomspace(min(20, w.size), w.size, 300).astype(np.int64))
        running_ess = (np.cumsum(w) ** 2 / np.cumsum(w**2))[running_at - 1] / running_at
    return WeightReport(log_z, edges, proposals, target, variance, batch.multiplicity.astype(np.int64) if metropolis else None,
                        running_at.astype(float), running_ess)


def describe_run(batch: Batch) -> str:
    """Theory and lattice in words."""
    lattice = theory.lattice_text(batch.run.target)
    return theory.describe(batch.run.target) + (f" on {lattice}" if lattice else "")
