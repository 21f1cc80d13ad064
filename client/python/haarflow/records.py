"""What the server answers, as plain records: runs, batches, models, estimates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import theory
from .statistics import Estimate, gamma_method, weighted_mean
from .v1 import model_pb2, sampler_pb2

__all__ = ["Batch", "LogZ", "Measurement", "Mode", "Model", "Run", "Statistics", "concatenate"]

Mode = Literal["metropolis", "reweighted"]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Statistics:
    """Quality of a chain or of a set of proposals, as the server counts it over all parts of a resumed chain.

    Attributes
    ----------
    steps : int
        Delivered chain steps.
    proposals, accepted : int
        Looked at, burn-in included; accepted of them.
    samples : int
        Proposals behind `ess`.
    ess : float
        ``(sum w)^2 / (n sum w^2)``, in [0, 1].
    acceptance : float
        Of independence Metropolis; 0 when no chain was run.
    max_weight_share : float
        Largest weight over the sum.
    longest_rejection_run, zero_weights, invalid_weights : int
    reliable : bool
        ESS x n >= 1000, no weight above 1 % of the sum, none invalid, no missed mode seen; `unreliable_reason` says what failed.
    log_z, log_z_error : float
        log mean w over all proposals.
    """

    steps: int
    proposals: int
    accepted: int
    samples: int
    ess: float
    acceptance: float
    max_weight_share: float
    longest_rejection_run: int
    zero_weights: int
    invalid_weights: int
    reliable: bool
    unreliable_reason: str
    log_z: float
    log_z_error: float

    @classmethod
    def of(cls, message: sampler_pb2.ChainStatistics) -> Statistics:
        """From the wire."""
        q = message.quality
        return cls(message.steps, message.proposals, message.accepted, q.samples, q.ess, q.acceptance, q.max_weight_share,
                   q.longest_rejection_run, q.zero_weights, q.invalid_weights, q.reliable, q.unreliable_reason, message.log_z,
                   message.log_z_error)


@dataclass(frozen=True)
class Run:
    """What names a stream: with an index these name a configuration for ever.

    Attributes
    ----------
    model, version, model_digest : str, int, str
        Digests are hexadecimal.
    target, target_digest : haarflow.v1.model_pb2.Target, str
        What the answer is exact for.
    numerics_class : str
        Bits are promised within one class.
    mode : {"metropolis", "reweighted"}
    seed, first_index, burn_in : int
    observables : tuple of str
    shape : tuple of int
        Of the numpy array of one configuration; () when fields were left out.
    dtype : str
        ``"float64"``, ``"complex64"``, ...; "" when fields were left out.
    """

    model: str
    version: int
    model_digest: str
    target: model_pb2.Target
    target_digest: str
    numerics_class: str
    mode: Mode
    seed: int
    first_index: int
    burn_in: int
    observables: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, header: sampler_pb2.SampleHeader) -> Run:
        """From the wire, without checks."""
        single = header.precision == sampler_pb2.FIELD_PRECISION_FLOAT32
        kind = ("complex64" if single else "complex128") if theory.is_complex(header.target) else ("float32" if single else "float64")
        shape = tuple(header.shape[:-1] if theory.is_complex(header.target) else header.shape)
        has_fields = header.configuration_bytes > 0
        return cls(header.model, header.version, header.model_digest.hex(), header.target, header.target_digest.hex(),
                   header.numerics_class, "reweighted" if header.mode == sampler_pb2.SAMPLE_MODE_REWEIGHTED else "metropolis",
                   header.seed, header.next_index, header.burn_in, tuple(header.observables), shape if has_fields else (),
                   kind if has_fields else "")

    def __str__(self) -> str:
        lattice = theory.lattice_text(self.target)
        return f"{self.model} version {self.version}, {theory.describe(self.target)}{', ' if lattice else ''}{lattice}, seed {self.seed}"


@dataclass(frozen=True)
class Batch:
    """Configurations and what belongs to them, one entry per configuration.

    Attributes
    ----------
    run : Run
    fields : ndarray, shape (n, *run.shape), or None
        U(1): angles in [-pi, pi) ``[n, mu, t, z, y, x]``; SU(N): complex matrices ``[n, mu, t, z, y, x, row, column]``, a single matrix
        ``[n, row, column]``; scalars ``[n, t, z, y, x]``, of two components ``[n, component, t, z, y, x]``. Direction mu = 0 is x
        and shifts the last lattice axis. None when they were left out.
    index : ndarray of uint64, shape (n,)
        The proposal's index: its name, with digests and seed.
    multiplicity : ndarray of uint64, shape (n,)
        METROPOLIS: the chain steps that a configuration stands for. REWEIGHTED: 1.
    log_weight, log_q, action : ndarray of float64, shape (n,)
        ``log w = -S - log q``; log q is the flow's density (Haar measure of volume 1 for links, Lebesgue for scalars).
    observables : dict of str to ndarray of float64, shape (n,)
    token : bytes
        The chain after the last of these: ``sample(..., resume=token)`` goes on there, at any server that has the model.
    statistics : Statistics
        The chain so far.

    Notes
    -----
    A state that a cut divided (a server that was stopped in good order) is in both batches beside the cut with its share of the
    multiplicity: the chain is the unbroken one, bit for bit. `concatenate` joins such rows.
    """

    run: Run
    fields: npt.NDArray[Any] | None
    index: Counts
    multiplicity: Counts
    log_weight: Floats
    log_q: Floats
    action: Floats
    observables: dict[str, Floats]
    token: bytes = field(repr=False)
    statistics: Statistics = field(repr=False)

    def __len__(self) -> int:
        return int(self.index.size)

    def __repr__(self) -> str:
        return f"<{len(self)} configurations ({self.steps} steps) of {self.run}>"

    @property
    def steps(self) -> int:
        """Chain steps that these configurations stand for; REWEIGHTED: proposals."""
        return int(self.multiplicity.sum())

    @property
    def weights(self) -> Floats:
        """Normalised to the sum 1: by these, ``sum(weights * values)`` is the mean, in both modes."""
        if self.run.mode == "metropolis":
            return np.asarray(self.multiplicity / self.multiplicity.sum())
        weights = np.exp(self.log_weight - self.log_weight.max())
        return np.asarray(weights / weights.sum())

    def values(self, name: str) -> Floats:
        """A column by name: an observable, or ``"action"``, ``"log_q"``, ``"log_weight"``."""
        if name in self.observables:
            return self.observables[name]
        if name in ("action", "log_q", "log_weight"):
            return np.asarray(getattr(self, name))
        raise KeyError(f"there is no column '{name}'; there are {', '.join([*self.observables, 'action', 'log_q', 'log_weight'])}")

    def chain(self, name: str) -> Floats:
        """The column written out as a time series, every value as often as its multiplicity says.

        Returns
        -------
        ndarray of float64, shape (steps,)
        """
        if self.run.mode != "metropolis":
            raise ValueError("reweighted proposals are no chain: use values() with log_weight")
        return np.repeat(self.values(name), self.multiplicity.astype(np.int64))

    def mean(self, name: str) -> Estimate:
        """Expectation value: Gamma method of the chain, or weighted mean with jackknife error."""
        if self.run.mode == "metropolis":
            return gamma_method(self.chain(name)).estimate
        return weighted_mean(self.values(name), self.log_weight)


def concatenate(batches: Iterable[Batch]) -> Batch:
    """One batch of several successive ones of a chain; rows that a cut divided are joined.

    Parameters
    ----------
    batches : iterable of Batch
        At least one, in their order, of one run.
    """
    parts = [batch for batch in batches]
    if not parts:
        raise ValueError("there is no batch to concatenate")
    first, last = parts[0], parts[-1]
    for part in parts[1:]:
        if (part.run.model_digest, part.run.target_digest, part.run.seed, part.run.mode, part.run.observables) != (
                first.run.model_digest, first.run.target_digest, first.run.seed, first.run.mode, first.run.observables):
            raise ValueError(f"batches of different runs: {first.run} and {part.run}")
    if len(parts) == 1:
        return first
    index = np.concatenate([part.index for part in parts])
    new = np.concatenate([[True], index[1:] != index[:-1]])
    starts = np.flatnonzero(new)

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[new]

    multiplicity = np.concatenate([part.multiplicity for part in parts])
    if first.run.mode == "metropolis" and index.size:
        multiplicity = np.add.reduceat(multiplicity, starts)
    fields = None if first.fields is None else column("fields")
    observables = {name: np.concatenate([part.observables[name] for part in parts])[new] for name in first.observables}
    return Batch(first.run, fields, index[new], multiplicity, column("log_weight"), column("log_q"), column("action"), observables,
                 last.token, last.statistics)


@dataclass(frozen=True)
class Measurement(Mapping[str, Estimate]):
    """Expectation values by the name of the observable: a mapping.

    Attributes
    ----------
    run : Run
    estimates : dict of str to Estimate
    statistics : Statistics
    """

    run: Run
    estimates: dict[str, Estimate]
    statistics: Statistics

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def __iter__(self) -> Any:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)


@dataclass(frozen=True)
class LogZ:
    """The logarithm of the partition function, of exp(-S) as it is written in proto/haarflow/v1/model.proto.

    Attributes
    ----------
    value, error : float
        Bias-corrected, jackknife error.
    exact : float or None
    lower, upper : Estimate or None
        ``E_q[log w] <= log Z <= E_p[log w]``; the upper bound with thermodynamics alone.
    bias : float
        Leading bias of log mean w, which `value` is corrected for.
    proposals : int
    error_reached : bool
        The error that was asked for; looked at only when the number of proposals has doubled.
    ess : float
    reliable : bool
    unreliable_reason : str
    thermodynamics : dict of str to Estimate
        Free energy density, pressure, mean action, entropy density and ``d log Z / d NAME``, where they were asked for.
    run : Run
    """

    value: float
    error: float
    exact: float | None
    lower: Estimate
    upper: Estimate | None
    bias: float
    proposals: int
    error_reached: bool
    ess: float
    reliable: bool
    unreliable_reason: str
    thermodynamics: dict[str, Estimate]
    run: Run

    @classmethod
    def of(cls, message: sampler_pb2.EstimatePartitionFunctionResponse, run: Run) -> LogZ:
        """From the wire."""
        t = message.thermodynamics
        values: dict[str, Estimate] = {}
        upper = None
        if message.HasField("thermodynamics"):
            upper = Estimate(t.mean_log_weight_target, t.mean_log_weight_target_error)
            for name in ("free_energy_density", "pressure", "mean_action", "entropy_density"):
                values[name] = Estimate(getattr(t, name), getattr(t, name + "_error"))
            for d in t.derivatives:
                values[f"d log Z / d {d.observable}"] = Estimate(d.value, d.error, exact=d.exact if d.HasField("exact") else None)
        return cls(message.log_z, message.log_z_error, message.exact if message.HasField("exact") else None,
                   Estimate(message.mean_log_weight, message.mean_log_weight_error), upper, message.bias, message.done,
                   message.error_reached, message.quality.ess, message.quality.reliable, message.quality.unreliable_reason, values, run)

    @property
    def pull(self) -> float | None:
        """``(value - exact) / error``, where there is an exact value."""
        return Estimate(self.value, self.error, exact=self.exact).pull

    def __str__(self) -> str:
        return str(Estimate(self.value, self.error))


@dataclass(frozen=True)
class Model:
    """A model of the server.

    Attributes
    ----------
    name, version, digest : str, int, str
    target : haarflow.v1.model_pb2.Target
        What it was made for.
    theory, lattice : str
        The same in words.
    ess, acceptance : float
        On the fresh samples of its card.
    parameters : int
        Learned numbers.
    conditioning : dict of str to (float, float)
        Intervals of parameters within which it serves every target as its own.
    state, state_reason : str
        ``"READY"``, ``"LOADING"``, ...; why, when it is not ready.
    card : haarflow.v1.model_pb2.ModelCard
        How it was made and how good it is.
    """

    name: str
    version: int
    digest: str
    target: model_pb2.Target = field(repr=False)
    theory: str
    lattice: str
    ess: float
    acceptance: float
    parameters: int
    conditioning: dict[str, tuple[float, float]]
    state: str
    state_reason: str
    card: model_pb2.ModelCard = field(repr=False)

    @classmethod
    def of(cls, info: sampler_pb2.ModelInfo) -> Model:
        """From the wire."""
        state = sampler_pb2.ModelState.Name(info.state).removeprefix("MODEL_STATE_")
        return cls(info.name, info.version, info.digest.hex(), info.target, theory.describe(info.target), theory.lattice_text(info.target),
                   info.card.quality.ess, info.card.quality.acceptance, info.parameters,
                   {c.parameter: (c.low, c.high) for c in info.conditioning}, state, info.state_reason, info.card)
