"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import numpy as np

from ..records import Batch
from ..statistics import Estimate, with_error
from ..theory import lattice_text
from .analysis import ObservableReport, WeightReport, describe_run
from .figures import Picture
from .verdict import Verdict

__all__ = ["MARK", "render"]

MARK = "<!-- made by haarflow report -->"

_STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff; max-width: 1060px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
.sub { color: #555; margin: .2rem 0 1.2rem; }
.verdict { border-left: 6px solid; padding: .7rem 1rem; background: #f6f7f8; }
.verdict p { margin: 0 0 .4rem; font-size: 1.15rem; font-weight: 600; } .verdict ul { margin: 0; padding-left: 0; list-style: none; }
.verdict li { margin: .25rem 0; padding-left: 1.6rem; position: relative; } .verdict li::before { position: absolute; left: 0; }
.good { border-color: #2e7d4f; } .note { border-color: #3b6ea5; } .warning { border-color: #c98a00; } .failure { border-color: #b3261e; }
li.good::before { content: "\\2713"; color: #2e7d4f; } li.note::before { content: "\\2022"; color: #3b6ea5; }
li.warning::before { content: "!"; color: #c98a00; font-weight: 700; } li.failure::before { content: "\\2717"; color: #b3261e; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; } td { border-bottom: 1px solid #eee; } .number { text-align: right; }
td.name { color: #555; white-space: nowrap; } code { font-size: .82rem; word-break: break-all; }
figure { margin: .6rem 0 1.4rem; } img { width: 100%; height: auto; } figcaption { color: #555; font-size: .9rem; }
footer { color: #777; font-size: .85rem; margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: .5rem; }
@media print { body { margin: 0; max-width: none; } figure, .verdict { break-inside: avoid; } }
"""


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        made = "".join(f'<{tag}{" class=number" if i >= numbers_from else ""}>{_text(cell)}</{tag}>' for i, cell in enumerate(cells))
        return f"<tr>{made}</tr>"

    return "<table>" + row(head, "th") + "".join(row(cells, "td") for cells in rows) + "</table>"


def exact_text(estimate: Estimate) -> str:
    """With its uncertainty, or a few digits more than the error can see."""
    value, error = estimate.exact, estimate.error
    if value is None:
        return "-"
    if estimate.exact_uncertainty > 1e-3 * error:
        return with_error(value, estimate.exact_uncertainty)
    if not 0 < error < np.inf:
        return f"{value:.10g}"
    return f"{value:.{int(np.clip(3 - np.floor(np.log10(error)), 2, 12))}f}"


def _pull(estimate: Estimate) -> str:
    return "-" if estimate.pull is None else f"{estimate.pull:+.2f}"


def _means(observables: list[ObservableReport], weights: WeightReport, metropolis: bool) -> str:
    head = ["quantity", "value", "exact", "pull", *(["tau_int"] if metropolis else [])]
    rows = []
    for o in observables:
        e = o.estimate
        tau = [with_error(e.tau_int, e.tau_int_error)] if metropolis else []
        rows.append([o.name, with_error(e.value, e.error), exact_text(e), _pull(e), *tau])
    z = weights.log_z
    rows.append(["log Z", with_error(z.value, z.error), exact_text(z), _pull(z), *(["-"] if metropolis else [])])
    return _table(head, rows, 1)


def _run(batch: Batch, created: str) -> str:
    run, s = batch.run, batch.statistics
    metropolis = run.mode == "metropolis"
    rows = [
        ("model", f"{run.model} version {run.version}"),
        ("target", describe_run(batch)),
        ("drawn", f"{batch.steps:,} {'chain steps' if metropolis else 'proposals'}, {len(batch):,} configurations"),
        ("mode", "METROPOLIS: states of a chain, stationary for exp(-S)/Z" if metropolis else "REWEIGHTED: independent proposals with weights"),
        ("seed, first index", f"{run.seed}, {run.first_index:,}" + (f"; {run.burn_in:,} steps of burn-in" if metropolis else "")),
        ("ESS", f"{100 * s.ess:.4g} % over {s.samples:,} proposals"),
        ("largest weight", f"{100 * s.max_weight_share:.2g} % of the sum"),
    ]
    if metropolis:
        rows.append(("acceptance", f"{100 * s.acceptance:.3g} % of {s.proposals:,} proposals, longest rejection run {s.longest_rejection_run:,}"))
    rows += [("numerics class", run.numerics_class)] + ([("created", created)] if created else [])
    body = "".join(f"<tr><td class=name>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in rows)
    for name, digest in (("model digest", run.model_digest), ("target digest", run.target_digest)):
        body += f"<tr><td class=name>{name}</td><td><code>{_text(digest)}</code></td></tr>"
    return f"<table>{body}</table>"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode("ascii")
    return (f'<figure><img alt="{_text(picture.name)}: {_text(picture.caption)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{_text(picture.caption)}</figcaption></figure>")


def _verdict(verdict: Verdict) -> str:
    items = "".join(f"<li class={finding.level}>{_text(finding.text)}</li>" for finding in verdict.findings)
    return f'<div class="verdict {verdict.level}"><p>{_text(verdict.headline)}</p><ul>{items}</ul></div>'


def render(title: str, batch: Batch, created: str, observables: list[ObservableReport], weights: WeightReport, verdict: Verdict,
           pictures: Sequence[Picture], version: str) -> str:
    """The whole document."""
    run = batch.run
    metropolis = run.mode == "metropolis"
    figures = {picture.name: _figure(picture) for picture in pictures}
    sections = "".join(f"<h2>{_text(o.name)}</h2>{figures[o.name]}" for o in observables)
    return f"""<!DOCTYPE html>
{MARK}
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}: haarflow report</title><style>{_STYLE}</style></head><body>
<h1>{_text(title)}</h1><div class="sub">{_text(describe_run(batch))}{'' if lattice_text(run.target) else ' (no lattice)'}; \
{batch.steps:,} {'chain steps' if metropolis else 'proposals'} of {_text(run.model)}</div>
{_verdict(verdict)}
<h2>Results</h2>{_means(observables, weights, metropolis)}
{sections}
<h2>Weights</h2>{figures['weights']}
<h2>The run</h2>{_run(batch, created)}
<footer>haarflow {_text(version)}. Errors: {'Gamma method (hep-lat/0306017) with window parameter S = 1.5' if metropolis else 'jackknife over 128 bins'}; \
log Z by jackknife over all proposals. A pull is (value - exact) / error, where the error holds the uncertainty of the exact value if that has one. Comparisons are judged together: a warning is what one honest report in 400 \
would show, a failure one in 30,000.</footer>
</body></html>
"""
