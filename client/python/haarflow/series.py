"""Time series in the form in which pyerrors takes them: samples, names, and indices of the steps, by replica.

>>> batch = client.sample("u1-l16-b2", 10_000, seed=1, fields=False).collect()
>>> series = haarflow.series.time_series(batch, "plaquette")
>>> obs = pyerrors.Obs(series.samples, series.names, idl=series.idl)
>>> obs.gamma_method()
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .records import Batch

__all__ = ["TimeSeries", "time_series", "weight_series"]


@dataclass(frozen=True)
class TimeSeries:
    """One array for each replica: the arguments of ``pyerrors.Obs``.

    Attributes
    ----------
    samples : list of ndarray of float64
    names : list of str
        ``"MODEL|seed1"``: ensemble and replica.
    idl : list of range
        Numbers of the steps, from 1 on; REWEIGHTED: of the rows.
    """

    samples: list[npt.NDArray[np.float64]]
    names: list[str]
    idl: list[range]


def _replica(batch: Batch) -> str:
    start = f"from{batch.run.first_index}" if batch.run.first_index else ""
    return f"{batch.run.model}|seed{batch.run.seed}{start}"


def _series(batches: Batch | Iterable[Batch], columns: Iterable[npt.NDArray[np.float64]]) -> TimeSeries:
    parts = _parts(batches)
    samples = list(columns)
    names = [_replica(part) for part in parts]
    if len(set(names)) != len(names):
        raise ValueError(f"several batches of one replica ({', '.join(names)}): join them with haarflow.concatenate")
    return TimeSeries(samples, names, [range(1, sample.size + 1) for sample in samples])


def _parts(batches: Batch | Iterable[Batch]) -> list[Batch]:
    return [batches] if isinstance(batches, Batch) else list(batches)


def time_series(batches: Batch | Iterable[Batch], name: str) -> TimeSeries:
    """The values of an observable, one for each chain step.

    Parameters
    ----------
    batches : Batch or iterable of Batch
        One whole run for each replica (another seed, another range of indices), all of one target.
    name : str
        An observable, or ``"action"``, ``"log_q"``, ``"log_weight"``.

    Returns
    -------
    TimeSeries
        METROPOLIS: the chain, every value as often as its multiplicity says. REWEIGHTED: the values of the proposals; their mean is
        ``pyerrors.reweight(w, [obs])[0]`` with ``w`` of `weight_series`.
    """
    parts = _parts(batches)
    return _series(parts, (part.chain(name) if part.run.mode == "metropolis" else part.values(name) for part in parts))


def weight_series(batches: Batch | Iterable[Batch]) -> TimeSeries:
    """The weights of reweighted proposals, ``exp(log_weight)`` over the largest of all replicas."""
    parts = _parts(batches)
    if any(part.run.mode == "metropolis" for part in parts):
        raise ValueError("the states of a Metropolis chain have no weights: their multiplicities are in time_series()")
    top = max(float(part.log_weight.max()) for part in parts)
    return _series(parts, (np.exp(part.log_weight - top) for part in parts))
