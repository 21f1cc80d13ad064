"""The verdict in words: may these configurations be used, what for, and what speaks against it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..records import Batch
from ..statistics import with_error
from .analysis import ObservableReport, WeightReport

__all__ = ["Finding", "Level", "Verdict", "judge"]

Level = Literal["good", "note", "warning", "failure"]
_ORDER: dict[Level, int] = {"good": 0, "note": 1, "warning": 2, "failure": 3}

# Two-sided probabilities, shared by all comparisons of a report: one in about 400 and one in 30,000 honest reports goes beyond them.
_DOUBTFUL = 2.5e-3
_WRONG = 3e-5


@dataclass(frozen=True)
class Finding:
    """One sentence or two, and how much it weighs."""

    level: Level
    text: str


@dataclass(frozen=True)
class Verdict:
    """What a report concludes.

    Attributes
    ----------
    level : {"good", "note", "warning", "failure"}
        That of the gravest finding.
    headline : str
    findings : list of Finding
        The gravest first.
    independent : float
        How many independent configurations the run is worth, for its slowest observable.
    """

    level: Level
    headline: str
    findings: list[Finding]
    independent: float


def _probability(sigmas: float) -> float:
    return math.erfc(abs(sigmas) / math.sqrt(2))


def _level(probability: float, comparisons: int) -> Level:
    """Sidak's correction: the smallest of several probabilities is expected to be small."""
    shared = 1 - (1 - min(max(probability, 0.0), 1.0)) ** max(comparisons, 1)
    return "failure" if shared < _WRONG else "warning" if shared < _DOUBTFUL else "good"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.{4 if fraction > 0.99 else 3}g} %"


def _worth(batch: Batch, observables: list[ObservableReport]) -> tuple[float, str]:
    if batch.run.mode == "reweighted":
        return batch.statistics.ess * batch.steps, ""
    slowest = max(observables, key=lambda o: o.estimate.tau_int)
    return batch.steps / (2 * max(slowest.estimate.tau_int, 0.5)), slowest.name


def _weights(batch: Batch) -> list[Finding]:
    s, found = batch.statistics, []
    if s.reliable:
        found.append(Finding("good", f"The flow covers the target: ESS {_percent(s.ess)} over {s.samples:,} proposals, the largest weight holds "
                             f"{_percent(s.max_weight_share)} of the sum."))
    elif s.ess * s.samples < 1000 and s.max_weight_share <= 0.01 and not s.invalid_weights and 0 < s.ess:
        found.append(Finding("warning", f"Too little was drawn to rely on it: ESS {_percent(s.ess)} times {s.samples:,} proposals is below 1000; "
                             f"{math.ceil(1100 / s.ess):,} proposals would do."))
    else:
        found.append(Finding("failure", f"The server calls this run not reliable: {s.unreliable_reason or 'no reason given'}."))
    if s.invalid_weights:
        found.append(Finding("failure", f"{s.invalid_weights:,} weights were NaN or infinite."))
    if s.reliable and s.ess < 0.1:
        found.append(Finding("note", f"The ESS is low: {1 / max(s.ess, 1e-12):.0f} proposals make one effective configuration. A re-tuned model "
                             "(`haarflow retune`) would draw faster."))
    return found


def _chain(batch: Batch, observables: list[ObservableReport], worth: float, slowest: str) -> list[Finding]:
    s = batch.statistics
    if batch.run.mode == "reweighted":
        return [Finding("good", f"{batch.steps:,} independent proposals, worth {worth:,.0f} configurations of equal weight.")]
    tau = next(o.estimate for o in observables if o.name == slowest)
    found = [Finding("good" if worth >= 100 else "warning",
                     f"{batch.steps:,} chain steps count as {worth:,.0f} independent configurations for the slowest observable here, {slowest} "
                     f"(tau_int {with_error(tau.tau_int, tau.tau_int_error)}); {_percent(s.acceptance)} of the proposals were accepted.")]
    if s.longest_rejection_run > 0.01 * batch.steps:
        found.append(Finding("warning", f"The chain stood still for {s.longest_rejection_run:,} of {batch.steps:,} steps: errors are "
                             "underestimated when a state holds on for so long. Draw more, or re-tune the model."))
    return found


def _exactness(observables: list[ObservableReport], weights: WeightReport) -> list[Finding]:
    pulls: list[tuple[str, float | None]] = [(o.name, o.estimate.pull) for o in observables if o.estimate.pull is not None]
    if weights.log_z.pull is not None:
        pulls.append(("log Z", weights.log_z.pull))
    pulls += [(o.name, None) for o in observables if o.estimate.exact is not None and o.estimate.pull is None
              and abs(o.estimate.value - o.estimate.exact) > 1e-9 * max(1.0, abs(o.estimate.exact))]
    found = []
    if not pulls:
        found.append(Finding("note", "No exact value is known for what was measured here: the agreement of histories and weights is all there is "
                             "to check."))
    else:
        worst = max(pulls, key=lambda pull: math.inf if pull[1] is None else abs(pull[1]))
        sigmas = math.inf if worst[1] is None else worst[1]
        level = _level(_probability(sigmas), len(pulls))
        words = {"good": "agree with", "warning": "agree poorly with", "failure": "contradict"}[level]
        which = f"of {len(pulls)} compared, {worst[0]} is farthest off, by" if len(pulls) > 1 else f"{worst[0]} is the only one known, off by"
        found.append(Finding(level, f"Means {words} the exact values: {which} {sigmas:+.2f} sigma."))
    shapes = [o for o in observables if o.histogram.degrees > 0]
    if shapes:
        least = min(shapes, key=lambda o: o.histogram.p_value)
        level = _level(least.histogram.p_value, len(shapes))
        words = {"good": "follow", "warning": "follow poorly", "failure": "do not follow"}[level]
        found.append(Finding(level, f"Distributions {words} the exact curves: chi^2 {least.histogram.chi_squared:.1f} for "
                             f"{least.histogram.degrees} degrees of freedom (p = {least.histogram.p_value:.2g}) for {least.name}"
                             + (f", the least likely of {len(shapes)}." if len(shapes) > 1 else ".")))
    return found


def _stability(observables: list[ObservableReport]) -> list[Finding]:
    worst = max(observables, key=lambda o: abs(o.drift))
    level = _level(_probability(worst.drift), len(observables))
    if level == "good":
        return [Finding("good", f"Histories are steady: the two halves of the run differ by {abs(worst.drift):.2f} sigma at most ({worst.name}).")]
    return [Finding(level, f"{worst.name} drifts: the two halves of the run differ by {worst.drift:+.2f} sigma.")]


def judge(batch: Batch, observables: list[ObservableReport], weights: WeightReport) -> Verdict:
    """Weighs all that was found."""
    worth, slowest = _worth(batch, observables)
    findings = [*_weights(batch), *_chain(batch, observables, worth, slowest), *_exactness(observables, weights), *_stability(observables)]
    findings.sort(key=lambda finding: -_ORDER[finding.level])
    level = findings[0].level
    known = any(o.estimate.exact is not None for o in observables) or weights.log_z.exact is not None
    headline = {
        "good": f"Sound: use it as {worth:,.0f} independent configurations." if known else "Sound.",
        "note": f"Sound as far as can be seen: use it as {worth:,.0f} independent configurations.",
        "warning": "Use with care, or draw more.",
        "failure": "Do not rely on it.",
    }[level]
    if not np.isfinite(worth):
        headline = "Do not rely on it."
    return Verdict(level, headline, findings, worth)
