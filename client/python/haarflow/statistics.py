"""Means with honest errors: Gamma method for chains, jackknife for weighted samples. The same as core/exact, in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Autocorrelation", "Estimate", "effective_sample_size", "gamma_method", "log_mean_weight", "weighted_mean"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An expectation value.

    Attributes
    ----------
    value, error : float
        Mean and its standard error.
    tau_int, tau_int_error : float
        Integrated autocorrelation time in chain steps, 0.5 for independent ones (METROPOLIS); NaN for weighted samples.
    exact : float or None
        Where the value is known independently of the run.
    exact_uncertainty : float
        Of `exact`: 0 for closed forms, which is all that a server says.
    """

    value: float
    error: float
    tau_int: float = float("nan")
    tau_int_error: float = float("nan")
    exact: float | None = None
    exact_uncertainty: float = 0.0

    @property
    def pull(self) -> float | None:
        """``(value - exact) / error``, both errors together where the exact value has one; None where there is no exact value, or no error above the rounding of the value."""
        if self.exact is None or not np.isfinite(self.error) or self.error <= 1e-12 * abs(self.value):
            return None
        return float((self.value - self.exact) / np.hypot(self.error, self.exact_uncertainty))

    def __str__(self) -> str:
        return with_error(self.value, self.error)


@dataclass(frozen=True)
class Autocorrelation:
    """What the Gamma method saw.

    Attributes
    ----------
    estimate : Estimate
    window : int
        Chosen W of the automatic windowing.
    rho : ndarray of float64, shape (longest + 1,)
        Normalised autocorrelation ``Gamma(t) / Gamma(0)``, bias-corrected, for t = 0, 1, ..., beyond the window.
    tau : ndarray of float64, shape (longest + 1,)
        ``tau_int(W)`` for each window W.
    steps : int
        Length of the chain.
    """

    estimate: Estimate
    window: int
    rho: Array
    tau: Array
    steps: int


def with_error(value: float, error: float) -> str:
    """``0.69781(12)``: two digits of error."""
    if not np.isfinite(error) or error <= 1e-12 * max(abs(value), 1e-300):
        return f"{value:.10g}" if error == 0 or np.isfinite(error) else f"{value:.6g} +- {error:g}"
    decimals = 1 - int(np.floor(np.log10(error)))
    if round(error * 10.0**decimals) >= 100:
        decimals -= 1
    if decimals > 0:
        digits = round(error * 10.0**decimals)
        return f"{value:.{decimals}f}({digits})" if error < 1 else f"{value:.{decimals}f}({error:.{decimals}f})"
    return f"{value:.0f}({error:.0f})"


def _autocovariance(fluctuation: Array, longest: int) -> Array:
    """Gamma(t) = 1/(N - t) sum_i a_i a_{i+t} for t = 0 .. longest, eq. (31) of hep-lat/0306017, by Fourier transform."""
    n = fluctuation.size
    padded = 1 << int(n + longest + 1).bit_length()
    spectrum = np.abs(np.fft.rfft(fluctuation, padded)) ** 2
    return np.asarray(np.fft.irfft(spectrum, padded)[: longest + 1] / (n - np.arange(longest + 1)))


def gamma_method(chain: npt.ArrayLike, s: float = 1.5) -> Autocorrelation:
    """Mean, error and autocorrelation time of a chain by the Gamma method.

    U. Wolff, hep-lat/0306017, sections 3.1 and 3.3: automatic window with parameter `s`, bias-corrected. A constant chain has error 0
    and tau_int 1/2.

    Parameters
    ----------
    chain : array_like of float, shape (n,)
        One value for each chain step (`Batch.chain`), n >= 8, all finite.
    s : float, optional
        Parameter S, the assumed ratio of tau to tau_int.

    Returns
    -------
    Autocorrelation
    """
    values = np.asarray(chain, dtype=np.float64)
    if values.ndim != 1 or values.size < 8:
        raise ValueError(f"Gamma method: {values.shape} values; one axis of at least 8 is needed")
    if not np.all(np.isfinite(values)):
        raise ValueError("Gamma method: the chain has a value that is not finite")
    if not s > 0:
        raise ValueError(f"Gamma method: S is {s}; it must be positive")
    n = values.size
    fluctuation = values - values[0]
    mean = float(fluctuation.mean())
    if not np.any(fluctuation):
        return Autocorrelation(Estimate(float(values[0]), 0.0, 0.5, 0.0), 0, np.ones(1), np.full(1, 0.5), n)
    fluctuation -= mean
    gamma = _autocovariance(fluctuation, n // 2)
    sums = np.cumsum(gamma[1:]) / gamma[0]  # tau_int(W) - 1/2 for W = 1, 2, ...
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        tau = np.where(sums > 0, s / np.log1p(1 / sums), 0.0)
        w = np.arange(1, sums.size + 1)
        stop = (sums <= 0) | (np.exp(-w / tau) < tau / np.sqrt(w * n))
    window = int(np.argmax(stop)) + 1 if stop.any() else sums.size
    # The mean was estimated from the same data, which lowers every Gamma(t) by C / N: eq. (49).
    corrected = gamma + (gamma[0] + 2 * gamma[1 : window + 1].sum()) / n
    c = corrected[0] + 2 * corrected[1 : window + 1].sum()
    if c <= 0:
        c = corrected[0]  # only noise makes it negative: claim independence rather than no error
    tau_int = float(c / (2 * corrected[0]))
    tau_error = 2 * tau_int * np.sqrt(max(window + 0.5 - tau_int, 0.0) / n)  # eq. (42)
    estimate = Estimate(float(values[0]) + mean, float(np.sqrt(c / n)), tau_int, float(tau_error))
    rho = corrected / corrected[0]
    return Autocorrelation(estimate, window, rho, 0.5 + np.concatenate([[0.0], np.cumsum(rho[1:])]), n)


def _weights(log_weight: npt.ArrayLike) -> Array:
    log_w = np.asarray(log_weight, dtype=np.float64)
    if log_w.ndim != 1 or log_w.size < 2:
        raise ValueError(f"weights of shape {log_w.shape}; one axis of at least 2 is needed")
    if np.any(np.isnan(log_w)) or np.any(log_w == np.inf) or np.all(log_w == -np.inf):
        raise ValueError("log-weights must be finite or -inf, and not all of them -inf")
    return np.asarray(np.exp(log_w - log_w.max()))


def _jackknife(weights: Array, columns: list[Array], function: Callable[[Array, list[Array]], Array], bins: int) -> float:
    """Error of `function` of (mean weight, mean weighted values) over interleaved bins."""
    bins = min(bins, weights.size)
    number = np.arange(weights.size) % bins
    sums = [np.bincount(number, column, bins) for column in [weights, *(weights * c for c in columns)]]
    counts = np.bincount(number, minlength=bins)
    left = [(total.sum() - total) / (weights.size - counts) for total in sums]
    with np.errstate(divide="ignore", invalid="ignore"):
        leave_one_out = function(left[0], left[1:])
    if not np.all(np.isfinite(leave_one_out)):
        return float("inf")
    return float(np.sqrt((bins - 1) / bins * np.sum((leave_one_out - leave_one_out.mean()) ** 2)))


def weighted_mean(values: npt.ArrayLike, log_weight: npt.ArrayLike, bins: int = 128) -> Estimate:
    """``sum w O / sum w`` of independent samples, jackknife error over interleaved bins.

    Parameters
    ----------
    values, log_weight : array_like of float, shape (n,)
    bins : int, optional

    Returns
    -------
    Estimate
        The error is infinite when one bin holds all of the weight.
    """
    weights, column = _weights(log_weight), np.asarray(values, dtype=np.float64)
    if column.shape != weights.shape or not np.all(np.isfinite(column)):
        raise ValueError(f"values of shape {column.shape} for weights of shape {weights.shape}; equal shapes and finite values are needed")
    mean = float(np.sum(weights * column) / np.sum(weights))
    return Estimate(mean, _jackknife(weights, [column], lambda w, moments: np.asarray(moments[0] / w), bins))


def log_mean_weight(log_weight: npt.ArrayLike, bins: int = 128) -> Estimate:
    """``log Z = log mean w`` of independent proposals, with jackknife error."""
    weights, top = _weights(log_weight), float(np.max(np.asarray(log_weight, dtype=np.float64)))
    return Estimate(top + float(np.log(weights.mean())), _jackknife(weights, [], lambda w, _: np.log(w), bins))


def effective_sample_size(log_weight: npt.ArrayLike) -> float:
    """``(sum w)^2 / (n sum w^2)`` of independent proposals, in [0, 1]."""
    weights = _weights(log_weight)
    return float(weights.sum() ** 2 / (weights.size * np.sum(weights**2)))
